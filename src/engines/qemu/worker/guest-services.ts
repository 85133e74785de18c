import { sleep } from '../../../async/index.ts';
import { HvError } from '../../../errors/index.ts';
import { givePairs } from '../guest/key-value-pairs.ts';
import { setGuestTime } from '../guest/time.ts';
import { describe, log } from '../log.ts';
import { GuestAgentLink } from './guest-agent-link.ts';
import type { WorkerRequest } from './wire.ts';

type GuestRequest = Extract<WorkerRequest, { op: 'agent' | 'key-value-pairs' }>;

const ATTEMPTS = 3;
const ATTEMPT_INTERVAL_MS = 2000;

/** What a worker does with its guest's agent, asked and by itself. What it does by itself never holds anything else up. */
export class GuestServices {
  readonly agent: GuestAgentLink;
  #pairs: Readonly<Record<string, string>>;
  /** The guest has not got the pairs as they are now. */
  #owesPairs: boolean;

  constructor(socketPath: string, pairs: Readonly<Record<string, string>>) {
    this.agent = new GuestAgentLink(socketPath);
    this.#pairs = pairs;
    this.#owesPairs = Object.keys(pairs).length > 0;
  }

  /** Something in the guest has opened the agent's port, or has closed it. */
  setOpen(isOpen: boolean): void {
    this.agent.isOpen = isOpen;
    // A guest that was started anew may have lost them.
    if (!isOpen) this.#owesPairs = Object.keys(this.#pairs).length > 0;
    else if (this.#owesPairs) this.#byItself('key-value pairs', () => this.#givePairs());
  }

  /** The guest stood still for a while: its clock is late, and something may have been set meanwhile. */
  wakeUp(): void {
    this.#byItself("the guest's clock", () => setGuestTime(this.agent, false));
    if (this.#owesPairs) this.#byItself('key-value pairs', () => this.#givePairs());
  }

  /** @param isRunning the guest can answer */
  async answer(request: GuestRequest, isRunning: boolean, signal: AbortSignal): Promise<unknown> {
    switch (request.op) {
      case 'agent': {
        if (!isRunning) throw new HvError('invalid-state', 'the guest cannot be asked: the machine does not run');
        const { command, timeoutMs, maxReplyBytes, silenceMs } = request;
        const options = { timeoutMs, maxReplyBytes, silenceMs, signal };
        return { answer: await this.agent.call(command, request.arguments, options) };
      }
      case 'key-value-pairs':
        this.#pairs = request.pairs;
        this.#owesPairs = true;
        // A guest that is paused or has no agent gets them once it can.
        if (isRunning && this.agent.isOpen) await this.#givePairs();
        return {};
      default:
        return request satisfies never;
    }
  }

  close(): Promise<void> {
    return this.agent.close();
  }

  async #givePairs(): Promise<void> {
    const pairs = this.#pairs;
    await givePairs(this.agent, pairs);
    if (pairs === this.#pairs) this.#owesPairs = false;
  }

  #byItself(what: string, work: () => Promise<unknown>): void {
    void (async () => {
      for (let attempt = 1; this.agent.isOpen; attempt++) {
        try {
          await work();
          return;
        } catch (error) {
          if (attempt < ATTEMPTS) await sleep(ATTEMPT_INTERVAL_MS);
          else {
            log(`${what}: ${describe(error)}`);
            return;
          }
        }
      }
    })();
  }
}
