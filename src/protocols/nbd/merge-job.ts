import { deferred, type LongOptions } from '../../async/index.ts';
import { type DiskChain, LiveMerge } from '../../disk/index.ts';
import { HvError } from '../../errors/index.ts';
import type { Export } from './export.ts';
import { HeldGate } from './held-gate.ts';
import { runSlices } from './slices.ts';

/**
 * A merge under an export that is in use:
 *
 *     copying -> [leaf: closed] -> over
 *
 * `copying` is work in slices between the requests. Below the leaf, `commit` then relinks the chain at once. For the leaf,
 * `close` shuts the gate with the parent holding everything, because from here on somebody else decides which of the two
 * files the disk is: no request is answered before that is known.
 */
export class MergeJob {
  readonly #export: Export;
  readonly #merge: LiveMerge;
  readonly #cancel = new AbortController();
  readonly #over = deferred<void>();
  #phase: 'copying' | 'copied' | 'closed' | 'over' = 'copying';
  #gate: HeldGate | undefined;

  constructor(served: Export, chain: DiskChain, depth: number) {
    this.#export = served;
    this.#merge = new LiveMerge(chain, depth);
    if (this.#merge.device) served.replaceDevice(this.#merge.device);
  }

  get isLeaf(): boolean {
    return this.#merge.depth === 0;
  }

  /** Waits for its end. */
  get isCopied(): boolean {
    return this.#phase === 'copied' || this.#phase === 'closed';
  }

  get isOver(): boolean {
    return this.#phase === 'over';
  }

  /** Copies everything. When it fails or is cancelled, the merge is given up. @throws HvError `aborted`, `no-space`, `io` */
  async copy(long: LongOptions): Promise<void> {
    const signal = long.signal ? AbortSignal.any([long.signal, this.#cancel.signal]) : this.#cancel.signal;
    try {
      await runSlices(this.#merge.copy, () => this.#merge.step(), { ...long, signal }, 'merging');
      await this.#merge.flush();
      this.#phase = 'copied';
    } catch (error) {
      this.#giveUp();
      throw error;
    }
  }

  /** Shuts the gate of a leaf. @throws HvError `invalid-state`, `io`, `no-space`; the merge is given up then */
  async close(): Promise<void> {
    if (this.#phase !== 'copied' || !this.isLeaf)
      throw new HvError('invalid-state', 'no merge of a leaf has copied everything');
    try {
      this.#gate = await HeldGate.shut(this.#export, () => this.#merge.settle());
      this.#phase = 'closed';
    } catch (error) {
      this.#giveUp();
      throw error;
    }
  }

  /** Instead of a decision: requests go on, every change goes to both files. Nothing happens where the gate is open. */
  async reopen(): Promise<void> {
    if (this.#phase !== 'closed' || !this.#gate) return;
    const gate = this.#gate;
    this.#phase = 'copied';
    this.#gate = undefined;
    await gate.open();
  }

  /** The disk goes on without the merged file. @throws HvError `invalid-state`, `io`, `no-space` */
  async commit(): Promise<void> {
    if (this.isLeaf) {
      if (this.#phase !== 'closed' || !this.#gate)
        throw new HvError('invalid-state', 'no merge of a leaf waits for a decision');
      this.#phase = 'over';
      await this.#inTheEnd(async (finish) => {
        await this.#gate?.open(() => {
          this.#export.replaceDevice(this.#merge.chain);
          finish();
        });
      });
      return;
    }
    if (this.#phase !== 'copied') throw new HvError('invalid-state', 'no merge has copied everything');
    this.#phase = 'over';
    await this.#inTheEnd(async (finish) => {
      await this.#export.exclusively(() => {
        try {
          this.#merge.settle();
          finish();
        } catch (error) {
          this.#end();
          throw error;
        }
      });
    });
  }

  /** Gives the merge up, at whatever point it is; nothing happens when it is over. @throws HvError `io`, `no-space` */
  async abandon(): Promise<void> {
    if (this.#phase === 'copying') {
      this.#cancel.abort(new HvError('aborted', 'the merge was given up'));
      await this.#over.promise;
    } else if (this.#phase === 'closed' && this.#gate) {
      this.#phase = 'over';
      await this.#gate.open(() => this.#end()).finally(() => this.#over.resolve());
    } else if (this.#phase === 'copied') this.#giveUp();
    else await this.#over.promise;
  }

  /** Does what must be done while nobody uses the disk, then what need not. */
  async #inTheEnd(work: (finish: () => void) => Promise<void>): Promise<void> {
    let closeRest = async (): Promise<void> => {};
    try {
      await work(() => {
        closeRest = this.#merge.finish();
      });
      await closeRest();
    } finally {
      this.#over.resolve();
    }
  }

  #giveUp(): void {
    this.#phase = 'over';
    try {
      this.#end();
    } finally {
      this.#over.resolve();
    }
  }

  #end(): void {
    if (this.#merge.device) this.#export.replaceDevice(this.#merge.chain);
    this.#merge.abandon();
  }
}
