import type { ChangeObserver, ImageState } from '../change-observer.ts';
import type { Journal } from './journal.ts';

/** The observer of an image's changes, and what happens when it fails: the disk goes on without it. */
export class ChangeNotes {
  readonly #journal: Journal;
  readonly #image: { readonly state: ImageState; readonly readOnly: boolean };
  #observer: ChangeObserver | undefined;

  constructor(journal: Journal, image: { readonly state: ImageState; readonly readOnly: boolean }) {
    this.#journal = journal;
    this.#image = image;
  }

  /** Undefined also after it failed to note a change. */
  get observer(): ChangeObserver | undefined {
    return this.#observer;
  }

  begin(observer: ChangeObserver): void {
    this.#observer = observer;
    this.#journal.observeHeader(observer);
    this.tell((changes) => changes.opened(this.#image.state));
  }

  /** Lets go of the observer, which stays the caller's. */
  stop(): void {
    this.#observer = undefined;
    this.#journal.observeHeader(undefined);
  }

  /** A range is about to change. */
  before(offset: number, length: number): void {
    const observer = this.#observer;
    if (!observer) return;
    try {
      observer.beforeChange(offset, length);
    } catch {
      this.#giveUp(observer);
    }
  }

  tell(call: (observer: ChangeObserver) => void): void {
    const observer = this.#observer;
    if (!observer) return;
    try {
      call(observer);
    } catch {
      this.#giveUp(observer);
    }
  }

  /** What is not written down as ended counts as in doubt the next time: nothing is lost when this fails. */
  end(): void {
    try {
      this.#observer?.ended(this.#image.state);
    } catch {
      // See above.
    }
  }

  close(): void {
    this.#observer?.close();
  }

  /** A disk is not stopped because its changes cannot be noted; but what was noted must not fit it any more. */
  #giveUp(observer: ChangeObserver): void {
    this.stop();
    observer.close();
    if (!this.#image.readOnly) this.#journal.renewFileGuid();
  }
}
