import { Mutex } from '../../../async/index.ts';
import { invariant } from '../../../errors/index.ts';
import { type RuntimeRecord, writeRuntime } from '../../../state/index.ts';
import { bootId, ownIdentity, type ProcessIdentity } from '../../../system/index.ts';

export type Phase = RuntimeRecord['phase'];

/** What this worker knows of its machine and other processes must know too. Each write says what is true by then. */
export class RunRecord {
  phase: Phase = 'starting';
  /** Where an operation that stops the machine for a moment returns to. */
  resumeTo: 'running' | 'paused' = 'running';
  /** Why it is paused, when nobody asked for it. */
  pauseReason: string | null = null;
  acceleration: 'kvm' | 'tcg' = 'tcg';
  startedTime = new Date().toISOString();
  /** The start takes a saved state in: decided once the definition names it no more. */
  restores = false;
  qemu: ProcessIdentity | undefined;
  readonly #runFolder: string;
  readonly #vmId: string;
  /** Two writes at once could end with the older one's file. */
  readonly #turn = new Mutex();

  readonly #onWritten: (record: RuntimeRecord) => void;

  constructor(runFolder: string, vmId: string, onWritten: (record: RuntimeRecord) => void) {
    this.#runFolder = runFolder;
    this.#vmId = vmId;
    this.#onWritten = onWritten;
  }

  /** Goes on where another worker stopped. */
  takeOver(record: RuntimeRecord): void {
    this.phase = record.phase;
    this.resumeTo = record.resumeTo;
    this.pauseReason = record.pauseReason;
    this.acceleration = record.acceleration;
    this.startedTime = record.startedTime;
    this.restores = record.restores;
  }

  async write(): Promise<void> {
    await this.#turn.run(async () => {
      invariant(this.qemu, 'a phase belongs to a QEMU');
      const record: RuntimeRecord = {
        schemaVersion: 1,
        vmId: this.#vmId,
        bootId: bootId(),
        phase: this.phase,
        resumeTo: this.resumeTo,
        qemu: this.qemu,
        worker: ownIdentity(),
        startedTime: this.startedTime,
        acceleration: this.acceleration,
        restores: this.restores,
        pauseReason: this.pauseReason,
      };
      await writeRuntime(this.#runFolder, record);
      this.#onWritten(record);
    });
  }
}
