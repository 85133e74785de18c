import { deferred, type LongOptions, type OnProgress, type Progress } from '../../async/index.ts';
import { FollowingCopy, MirrorDevice, type OpenDisk, WholeDevice } from '../../disk/index.ts';
import { HvError } from '../../errors/index.ts';
import type { Export } from './export.ts';
import { HeldGate } from './held-gate.ts';
import { runSlices } from './slices.ts';

/**
 * A second disk that is kept the same as an export's own: first a copy in slices between the requests, then each change
 * on both. When the second one fails, it is given up; the export never suffers.
 */
export class MirrorJob {
  readonly target: OpenDisk;
  readonly #export: Export;
  readonly #disk: OpenDisk;
  readonly #copy: FollowingCopy;
  readonly #device: MirrorDevice;
  readonly #cancel = new AbortController();
  readonly #synchronized = deferred<void>();
  readonly #listeners = new Set<OnProgress>();
  readonly #copying: Promise<void>;
  #gate: HeldGate | undefined;
  #isOver = false;

  /** Starts at once. The target becomes this job's, to be closed at its end. @throws HvError `invalid-argument` (another size) */
  constructor(served: Export, disk: OpenDisk, target: OpenDisk) {
    if (target.sizeBytes !== disk.sizeBytes) {
      throw new HvError('invalid-argument', 'a mirror has the size of the disk that it mirrors', {
        detail: { sizeBytes: disk.sizeBytes, mirrorSizeBytes: target.sizeBytes },
      });
    }
    this.target = target;
    this.#export = served;
    this.#disk = disk;
    this.#copy = new FollowingCopy(new WholeDevice(disk), target, { isTargetBlank: false, findZeroes: true });
    this.#device = new MirrorDevice(disk, this.#copy);
    served.replaceDevice(this.#device);
    this.#synchronized.promise.catch(() => {}); // whoever waits hears of it
    this.#copying = this.#run();
  }

  /** Resolves when both are the same; they stay so. @throws HvError what made the mirror fail; `aborted` (it was ended) */
  async wait({ signal, onProgress }: LongOptions): Promise<void> {
    const aborted = deferred<never>();
    const onAbort = (): void => aborted.reject(new HvError('aborted', 'waiting for the mirror was cancelled'));
    aborted.promise.catch(() => {});
    signal?.addEventListener('abort', onAbort, { once: true });
    if (onProgress) this.#listeners.add(onProgress);
    try {
      await Promise.race([this.#synchronized.promise, aborted.promise]);
      this.#mustBeWhole();
    } finally {
      signal?.removeEventListener('abort', onAbort);
      if (onProgress) this.#listeners.delete(onProgress);
    }
  }

  /** Holds requests back with both disks the same, durable, until it is decided which is used. @throws HvError `invalid-state`, and what made the mirror fail */
  async close(): Promise<void> {
    if (this.#isOver || this.#gate || !this.#copy.isComplete) {
      throw new HvError('invalid-state', 'the mirror is not synchronized');
    }
    this.#gate = await HeldGate.shut(this.#export, async () => {
      this.#mustBeWhole();
      await this.target.flush();
    });
  }

  /** Instead of a decision: requests go on, on both disks. */
  async reopen(): Promise<void> {
    const gate = this.#gate;
    this.#gate = undefined;
    await gate?.open();
  }

  /** The export goes on with the target alone; its former disk is closed. @throws HvError `invalid-state`, `io`, `no-space` */
  async switchOver(): Promise<void> {
    if (!this.#gate) throw new HvError('invalid-state', 'no mirror waits for a decision');
    this.#isOver = true;
    await this.#gate.open(async () => {
      this.#export.replaceDevice(this.target);
      await this.#disk.close();
    });
  }

  /** The export goes on with its own disk; the target holds what it held at this moment. Idempotent. @throws HvError `io`, `no-space` (the target) */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancel.abort(new HvError('aborted', 'the mirror was ended'));
    await this.#copying;
    await this.reopen();
    await this.#export.exclusively(() => this.#export.replaceDevice(this.#disk));
    try {
      await this.target.close();
    } catch (error) {
      if (!this.#device.failure) throw error; // a mirror that failed is worth nothing in any case
    }
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  async #run(): Promise<void> {
    const step = (): void => {
      this.#device.follow((copy) => copy.step());
      this.#mustBeWhole();
    };
    const onProgress = (progress: Progress): void => {
      for (const listener of this.#listeners) listener(progress);
    };
    try {
      await runSlices(this.#copy, step, { signal: this.#cancel.signal, onProgress }, 'mirroring');
      await this.target.flush();
      this.#synchronized.resolve();
    } catch (error) {
      this.#synchronized.reject(error);
    }
  }

  #mustBeWhole(): void {
    if (this.#device.failure) throw this.#device.failure.error;
  }
}
