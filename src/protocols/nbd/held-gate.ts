import { type Deferred, deferred } from '../../async/index.ts';
import type { Export } from './export.ts';

/** An export whose requests are held back until somebody else has decided how it goes on. */
export class HeldGate {
  readonly #decided: Deferred<() => Promise<void> | void>;
  readonly #opened: Promise<void>;

  private constructor(decided: Deferred<() => Promise<void> | void>, opened: Promise<void>) {
    this.#decided = decided;
    this.#opened = opened;
  }

  /** Shuts the gate, with nothing in progress, once `settle` has succeeded. @throws HvError `in-use`, and what `settle` throws */
  static async shut(served: Export, settle: () => Promise<void> | void): Promise<HeldGate> {
    const shut = deferred<void>();
    const decided = deferred<() => Promise<void> | void>();
    const opened = served.exclusively(async () => {
      await settle();
      shut.resolve();
      const last = await decided.promise;
      await last();
    });
    opened.catch((error: unknown) => shut.reject(error));
    await shut.promise;
    return new HeldGate(decided, opened);
  }

  /** Opens it after a last piece of work, to be called once. @throws what `last` throws; the gate is open all the same */
  async open(last: () => Promise<void> | void = () => {}): Promise<void> {
    this.#decided.resolve(last);
    await this.#opened;
  }
}
