import { expect } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { openVhd } from '../../src/disk/index.ts';
import { GuestConsole } from '../conformance/guest/guest-console.ts';
import type { FaultFixture } from './fixture.ts';

const SECTOR = 512;

/** A guest that writes numbered sectors to its data partition without end, and says each number once it is flushed. */
export class Writer implements AsyncDisposable {
  readonly #console: GuestConsole;
  readonly #first: number;
  readonly startOffset: number;

  private constructor(console: GuestConsole, first: number, startOffset: number) {
    this.#console = console;
    this.#first = first;
    this.startOffset = startOffset;
  }

  static async start(fixture: FaultFixture, id: string, first: number): Promise<Writer> {
    const console = await GuestConsole.open(fixture.host, id);
    await console.run('umount /data 2>/dev/null; dmesg -c >/dev/null; dmesg -n 1');
    const start = Number(await console.run('cat /sys/block/sda/sda3/start'));
    console.type(
      `n=${first}; while printf "%511d\\n" $n | dd of=/dev/sda3 bs=512 seek=$n conv=notrunc,fsync 2>/dev/null; do echo "done $n."; n=$((n+1)); done; echo "writer failed"`,
    );
    await console.waitFor(/\ndone \d+\./);
    return new Writer(console, first, start * SECTOR);
  }

  /** The last number that the guest was told is safe. */
  get acknowledged(): number {
    const numbers = [...this.#console.text.matchAll(/\ndone (\d+)\./g)];
    return Number(numbers.at(-1)?.[1] ?? 0);
  }

  get hasFailed(): boolean {
    return /\nwriter failed/.test(this.#console.text);
  }

  /** Waits until more is acknowledged than at the call. */
  async goesOn(timeoutMs: number): Promise<number> {
    const before = this.acknowledged;
    return await poll(() => (this.acknowledged > before + 3 ? this.acknowledged : undefined), {
      timeoutMs,
      intervalMs: 5,
      doing: `waiting for the guest to write on after ${before}`,
    });
  }

  /** Ends the writing; nothing was said to have failed, and the guest's kernel has nothing to complain of. */
  async stop(): Promise<{ readonly first: number; readonly last: number }> {
    await this.#console.interrupt();
    expect(this.hasFailed).toBe(false);
    expect(await this.#console.run('dmesg | grep -v "link becomes ready"')).toBe('');
    return { first: this.#first, last: this.acknowledged };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#console.close();
  }
}

/** Every acknowledged sector lies on the disk as the guest wrote it. The machine is off. */
export async function expectWritten(
  fixture: FaultFixture,
  id: string,
  offset: number,
  first: number,
  last: number,
): Promise<void> {
  const path = (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';
  const disk = await openVhd(path, { readOnly: true, allowParents: [fixture.folder] });
  try {
    const wrong: number[] = [];
    const data = Buffer.alloc(SECTOR);
    for (let number = first; number <= last; number++) {
      disk.read(offset + number * SECTOR, data, 0, SECTOR);
      if (data.toString('latin1') !== `${String(number).padStart(SECTOR - 1)}\n`) wrong.push(number);
    }
    expect(wrong).toEqual([]);
  } finally {
    await disk.close();
  }
}
