import type { LongOptions } from '../async/index.ts';
import type { Host } from '../host/index.ts';
import type {
  GuestCopyOptions,
  GuestCopyResult,
  GuestExecOptions,
  GuestExecResult,
  GuestInfo,
  KeyValuePair,
} from '../model/index.ts';

/**
 * The guest of one machine, through its agent. What comes from it is the guest's word. Every call needs a running machine
 * with an agent in it, unless it says otherwise; else HvError `invalid-state`, `unsupported` or `timeout`.
 */
export class Guest {
  readonly #host: Host;
  readonly #vmId: string;

  constructor(host: Host, vmId: string) {
    this.#host = host;
    this.#vmId = vmId;
  }

  /** Its system, clock, users, file systems, and what its agent lets hv do. */
  info(options?: Pick<LongOptions, 'signal'>): Promise<GuestInfo> {
    return this.#host.guest.info(this.#vmId, options);
  }

  /**
   * Runs a program, without a shell, and waits for its end. An abort or `timeoutMs` kills it.
   *
   * @example
   * const { exitCode, stdout } = await vm.guest.exec('uname', ['-r']);
   */
  exec(
    program: string,
    args: readonly string[] = [],
    options?: GuestExecOptions & Pick<LongOptions, 'signal'>,
  ): Promise<GuestExecResult> {
    return this.#host.guest.exec(this.#vmId, program, args, options);
  }

  /** Copies a file of this host into the guest, verified. @throws HvError `already-exists` (without `force`), `not-found`, `corrupt` */
  copyTo(sourcePath: string, targetPath: string, options?: GuestCopyOptions & LongOptions): Promise<GuestCopyResult> {
    return this.#host.guest.copyTo(this.#vmId, sourcePath, targetPath, options);
  }

  /** Copies a file of the guest to this host, verified. @throws as `copyTo` */
  copyFrom(sourcePath: string, targetPath: string, options?: GuestCopyOptions & LongOptions): Promise<GuestCopyResult> {
    return this.#host.guest.copyFrom(this.#vmId, sourcePath, targetPath, options);
  }

  /** Sets the guest's clock to this host's and says by how much it was wrong; after a resume hv does it by itself. */
  setTime(): Promise<{ readonly offsetMs: number }> {
    return this.#host.guest.setTime(this.#vmId);
  }

  /** What the host has set; of a guest that answers, also what it says. Works on a machine that is off, too. */
  keyValuePairs(): Promise<readonly KeyValuePair[]> {
    return this.#host.guest.keyValuePairs(this.#vmId);
  }

  /** Told to the guest now, or once its agent runs. @throws HvError `invalid-argument` */
  setKeyValuePair(key: string, value: string): Promise<void> {
    return this.#host.guest.setKeyValuePair(this.#vmId, key, value);
  }

  /** @throws HvError `not-found` */
  deleteKeyValuePair(key: string): Promise<void> {
    return this.#host.guest.deleteKeyValuePair(this.#vmId, key);
  }
}
