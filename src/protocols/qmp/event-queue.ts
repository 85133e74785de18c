import { type Deferred, deferred } from '../../async/index.ts';
import type { QmpEvent } from './wire.ts';

/** Events of which only the latest matters: the first to go when a consumer is slow. */
const COALESCIBLE: ReadonlySet<string> = new Set([
  'BALLOON_CHANGE',
  'BLOCK_IO_ERROR',
  'MIGRATION_PASS',
  'NIC_RX_FILTER_CHANGED',
  'QUORUM_REPORT_BAD',
  'RTC_CHANGE',
  'SPICE_CONNECTED',
  'SPICE_DISCONNECTED',
  'VNC_CONNECTED',
  'VNC_DISCONNECTED',
  'VNC_INITIALIZED',
  'WATCHDOG',
]);

/** What one slow consumer of events has not taken yet; never longer than its bound. */
export class EventQueue {
  readonly #maxEvents: number;
  readonly #events: QmpEvent[] = [];
  #waiter: Deferred<QmpEvent | undefined> | undefined;
  #isEnded = false;

  constructor(maxEvents: number) {
    this.#maxEvents = maxEvents;
  }

  /** False when the event found no room: everything queued matters. */
  offer(event: QmpEvent): boolean {
    if (this.#isEnded) return true;
    if (this.#waiter) {
      this.#waiter.resolve(event);
      this.#waiter = undefined;
      return true;
    }
    if (this.#events.length >= this.#maxEvents) {
      const victim = this.#events.findIndex((queued) => COALESCIBLE.has(queued.name));
      if (victim === -1) return COALESCIBLE.has(event.name);
      this.#events.splice(victim, 1);
    }
    this.#events.push(event);
    return true;
  }

  /** What is queued can still be taken. */
  end(): void {
    this.#isEnded = true;
    this.#waiter?.resolve(undefined);
    this.#waiter = undefined;
  }

  /** The oldest event, or undefined after the end. */
  take(): Promise<QmpEvent | undefined> {
    const event = this.#events.shift();
    if (event || this.#isEnded) return Promise.resolve(event);
    this.#waiter = deferred();
    return this.#waiter.promise;
  }
}
