import { closeSync, fdatasync, fdatasyncSync, fstatSync, ftruncateSync, readSync, writeSync } from 'node:fs';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { preallocate, punchHole } from '../system/index.ts';
import type { ByteStore } from './byte-store.ts';

const ZERO_CHUNK = new Uint8Array(1 << 20);

export interface FileStoreOptions {
  readonly readOnly: boolean;
  /** The size of a device, whose file has none. */
  readonly deviceSizeBytes?: number;
  /** What else ends with the file: its lock. Called once, before the descriptor is closed. */
  readonly onClose?: () => void;
}

/**
 * An open file. Owns the descriptor; the caller has opened it and made sure that it is what it should be.
 * A failed flush is never forgiven: the kernel may have dropped the pages, so every later flush fails as well.
 */
export class FileStore implements ByteStore {
  readonly name: string;
  readonly readOnly: boolean;
  readonly fd: number;
  readonly #onClose: (() => void) | undefined;
  readonly #deviceSizeBytes: number | undefined;
  #open = true;
  /** Counts changes, so that a flush with nothing to do costs nothing. */
  #changes = 1;
  #flushedChanges = 0;
  #flushFailure: HvError | undefined;

  constructor(fd: number, name: string, options: FileStoreOptions) {
    this.fd = fd;
    this.name = name;
    this.readOnly = options.readOnly;
    this.#onClose = options.onClose;
    this.#deviceSizeBytes = options.deviceSizeBytes;
  }

  size(): number {
    if (this.#deviceSizeBytes !== undefined) return this.#deviceSizeBytes;
    try {
      return fstatSync(this.fd).size;
    } catch (error) {
      throw this.#failure(error, 'could not read the size of');
    }
  }

  /** The space that the file takes; less than its size where it has holes. */
  allocatedBytes(): number {
    try {
      return fstatSync(this.fd).blocks * 512;
    } catch (error) {
      throw this.#failure(error, 'could not read the size of');
    }
  }

  read(position: number, target: Uint8Array, targetStart: number, length: number): void {
    let done = 0;
    try {
      while (done < length) {
        const got = readSync(this.fd, target, targetStart + done, length - done, position + done);
        if (got === 0) {
          target.fill(0, targetStart + done, targetStart + length);
          return;
        }
        done += got;
      }
    } catch (error) {
      throw this.#failure(error, 'could not read', position, length);
    }
  }

  write(position: number, source: Uint8Array, sourceStart: number, length: number): void {
    if (this.readOnly) throw this.#refused();
    this.#changes++;
    let done = 0;
    try {
      while (done < length) done += writeSync(this.fd, source, sourceStart + done, length - done, position + done);
    } catch (error) {
      throw this.#failure(error, 'could not write', position, length);
    }
  }

  setSize(sizeBytes: number): void {
    if (this.readOnly) throw this.#refused();
    if (this.#deviceSizeBytes !== undefined) {
      throw new HvError('unsupported', `${this.name} is a device, which has the size that it has`, {
        detail: { path: this.name },
      });
    }
    this.#changes++;
    try {
      ftruncateSync(this.fd, sizeBytes);
    } catch (error) {
      // The kernel answers EINVAL as well as EFBIG to a length that the file system cannot hold.
      if (isSystemError(error, 'EINVAL', 'EFBIG')) {
        throw new HvError('no-space', `${this.name} cannot grow to ${sizeBytes} bytes on this file system`, {
          detail: { path: this.name, sizeBytes },
          cause: error,
        });
      }
      throw this.#failure(error, 'could not resize');
    }
  }

  punchHole(position: number, length: number): void {
    if (this.readOnly) throw this.#refused();
    this.#changes++;
    if (length <= 0 || punchHole(this.fd, position, length)) return;
    const end = Math.min(position + length, this.size());
    for (let at = position; at < end; at += ZERO_CHUNK.length) {
      this.write(at, ZERO_CHUNK, 0, Math.min(ZERO_CHUNK.length, end - at));
    }
  }

  allocate(position: number, length: number): void {
    if (this.readOnly) throw this.#refused();
    this.#changes++;
    preallocate(this.fd, position, length);
  }

  flushSync(): void {
    const upTo = this.#changes;
    if (!this.#needsFlush(upTo)) return;
    try {
      fdatasyncSync(this.fd);
    } catch (error) {
      throw this.#flushFailed(error);
    }
    this.#flushedChanges = Math.max(this.#flushedChanges, upTo);
  }

  flush(): Promise<void> {
    const upTo = this.#changes;
    return new Promise((resolve, reject) => {
      if (!this.#needsFlush(upTo)) {
        resolve();
        return;
      }
      fdatasync(this.fd, (error) => {
        if (error) {
          reject(this.#flushFailed(error));
          return;
        }
        this.#flushedChanges = Math.max(this.#flushedChanges, upTo);
        resolve();
      });
    });
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    try {
      this.#onClose?.();
    } finally {
      closeSync(this.fd);
    }
  }

  #needsFlush(upTo: number): boolean {
    if (this.#flushFailure) throw this.#flushFailure;
    return !this.readOnly && this.#flushedChanges < upTo;
  }

  #flushFailed(error: unknown): HvError {
    this.#flushFailure = this.#failure(error, 'could not flush');
    return this.#flushFailure;
  }

  #refused(): HvError {
    return new HvError('permission-denied', `${this.name} is open for reading only`, { detail: { path: this.name } });
  }

  #failure(error: unknown, doing: string, position?: number, length?: number): HvError {
    return fromSystemError(error, `${doing} ${this.name}`, {
      path: this.name,
      ...(position === undefined ? {} : { position }),
      ...(length === undefined ? {} : { length }),
    });
  }
}
