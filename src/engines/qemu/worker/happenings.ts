import { Mutex } from '../../../async/index.ts';
import { isHvError } from '../../../errors/index.ts';
import type { HostEvent, VmState } from '../../../model/index.ts';
import type { QmpEvent } from '../../../protocols/qmp/index.ts';
import { EventLog, type LastExit, type RuntimeRecord, type VmDefinition } from '../../../state/index.ts';
import { driveNames } from '../drive-devices.ts';
import { describe, log } from '../log.ts';
import { stateOf } from '../observe.ts';
import { AGENT_PORT } from '../qemu-arguments.ts';
import { EVENTS_FILE } from './launch.ts';

type What = HostEvent extends infer E ? (E extends unknown ? Omit<E, 'time' | 'vmId' | 'vmName'> : never) : never;

/** What happens to this machine, written down in its data folder in the order in which it happened. */
export class Happenings {
  readonly #definition: VmDefinition;
  readonly #log = new EventLog(EVENTS_FILE);
  readonly #turn = new Mutex();
  #state: VmState | undefined;
  #reason: string | null = null;

  constructor(definition: VmDefinition) {
    this.#definition = definition;
  }

  /** A phase was written down; what is no other state for a user is nothing new. */
  phase(record: RuntimeRecord): void {
    const state = stateOf(record);
    if (state === this.#state && record.pauseReason === this.#reason) return;
    this.#state = state;
    this.#reason = record.pauseReason;
    void this.#add({ kind: 'state', state, reason: record.pauseReason });
  }

  /** The machine is off, or its state is saved. */
  ended(kind: LastExit['kind'], reason: string): Promise<void> {
    // A start that failed leaves what it was to restore.
    const isSaved = kind === 'saved' || (kind === 'failed' && this.#definition.savedState !== null);
    this.#state = isSaved ? 'Saved' : 'Off';
    return this.#add({ kind: 'state', state: this.#state, reason: reason.slice(0, 2000) });
  }

  /** What QEMU says by itself. */
  qemu(event: QmpEvent): void {
    switch (event.name) {
      case 'BLOCK_IO_ERROR':
        void this.#add({
          kind: 'disk-error',
          driveId: this.#driveOf(event.data['node-name']),
          operation: event.data.operation === 'read' ? 'read' : 'write',
          noSpace: event.data.nospace === true,
        });
        return;
      case 'GUEST_PANICKED':
        void this.#add({ kind: 'guest-panic' });
        return;
      case 'RESET':
        if (event.data.guest === true) void this.#add({ kind: 'guest-reset' });
        return;
      case 'VSERPORT_CHANGE':
        if (event.data.id === AGENT_PORT) void this.#add({ kind: 'guest-agent', connected: event.data.open === true });
        return;
      default:
        return;
    }
  }

  #driveOf(nodeName: unknown): string | null {
    const drives = this.#definition.specification.hardDiskDrives;
    return drives.find((drive) => driveNames(drive).node === nodeName)?.id ?? null;
  }

  /** The machine does not stop because this cannot be written down. */
  async #add(what: What): Promise<void> {
    const time = new Date().toISOString();
    const { id: vmId, specification } = this.#definition;
    const event = { time, vmId, vmName: specification.name, ...what } as HostEvent; // of the union, as `What` is
    try {
      await this.#turn.run(() => this.#log.append(event));
    } catch (error) {
      if (!isHvError(error)) throw error;
      log(`an event is lost: ${describe(error)}`);
    }
  }
}
