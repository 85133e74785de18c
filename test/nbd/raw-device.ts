import { closeSync, fstatSync, fsync, openSync, readSync, writeSync } from 'node:fs';
import type { BlockDevice, Extent, FileRange } from '../../src/disk/block-device.ts';
import { HvError } from '../../src/errors/index.ts';
import { nextData, nextHole, punchHole } from '../../src/system/index.ts';

const ZEROS = Buffer.alloc(1024 * 1024);

export interface RawDeviceOptions {
  readonly readOnly?: boolean;
  /** Called before every access; throws to make it fail. */
  readonly onAccess?: (kind: 'read' | 'write' | 'flush', offset: number, length: number) => void;
}

/** A plain file as a block device: the simplest real thing to serve. */
export class RawDevice implements BlockDevice {
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes = 512;
  readonly physicalSectorSizeBytes = 4096;
  readonly readOnly: boolean;
  readonly #fd: number;
  readonly #onAccess: NonNullable<RawDeviceOptions['onAccess']>;
  #isOpen = true;

  constructor(path: string, options: RawDeviceOptions = {}) {
    this.readOnly = options.readOnly ?? false;
    this.#fd = openSync(path, this.readOnly ? 'r' : 'r+');
    this.sizeBytes = fstatSync(this.#fd).size;
    this.#onAccess = options.onAccess ?? (() => {});
  }

  read(offset: number, target: Uint8Array, targetStart: number, length: number): void {
    this.#check(offset, length);
    this.#onAccess('read', offset, length);
    if (readSync(this.#fd, target, targetStart, length, offset) !== length) throw new HvError('io', 'short read');
  }

  write(offset: number, source: Uint8Array, sourceStart: number, length: number): void {
    this.#check(offset, length);
    this.#onAccess('write', offset, length);
    if (writeSync(this.#fd, source, sourceStart, length, offset) !== length) throw new HvError('io', 'short write');
  }

  writeZeroes(offset: number, length: number, mayUnmap: boolean): void {
    this.#check(offset, length);
    this.#onAccess('write', offset, length);
    if (mayUnmap && punchHole(this.#fd, offset, length)) return;
    for (let at = 0; at < length; at += ZEROS.length) {
      writeSync(this.#fd, ZEROS, 0, Math.min(ZEROS.length, length - at), offset + at);
    }
  }

  trim(offset: number, length: number): void {
    this.#check(offset, length);
    punchHole(this.#fd, offset, length);
  }

  flush(): Promise<void> {
    this.#onAccess('flush', 0, 0);
    return new Promise((resolve, reject) => fsync(this.#fd, (error) => (error ? reject(error) : resolve())));
  }

  *extents(offset: number, length: number): Iterable<Extent> {
    this.#check(offset, length);
    const end = offset + length;
    for (let at = offset; at < end; ) {
      const data = Math.min(nextData(this.#fd, at) ?? end, end);
      if (data > at) yield { offset: at, length: data - at, kind: 'hole', depth: 0 };
      const hole = data < end ? Math.min(nextHole(this.#fd, data), end) : end;
      if (hole > data) yield { offset: data, length: hole - data, kind: 'data', depth: 0 };
      at = hole;
    }
  }

  resolveRead(offset: number, length: number): readonly FileRange[] {
    this.#check(offset, length);
    this.#onAccess('read', offset, length);
    return [{ fd: this.#fd, fileOffset: offset, length }];
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    closeSync(this.#fd);
  }

  #check(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new HvError('invalid-argument', 'outside of the disk', { detail: { offset, length } });
    }
  }
}
