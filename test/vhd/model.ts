import { expect } from 'vitest';
import type { DiskImage } from '../../src/formats/disk-image.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;

type Written = Pick<DiskImage, 'sizeBytes' | 'read' | 'write' | 'writeZeroes' | 'trim' | 'flush'>;

/**
 * One random operation on a disk, and the same on a plain array that says what must come out. What was trimmed may read
 * as zero or as before: the disk is asked.
 * @param unitBytes of what offsets and lengths are multiples at least
 */
export async function operate(disk: Written, expected: Uint8Array, random: () => number, unitBytes = 1): Promise<void> {
  const choice = random();
  const [start, end] = range(expected.length, random, unitBytes);
  if (choice < 0.55) {
    const bytes = new Uint8Array(end - start);
    for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 7 + start + Math.floor(choice * 1000)) & 0xff;
    disk.write(start, bytes, 0, bytes.length);
    expected.set(bytes, start);
  } else if (choice < 0.75) {
    disk.writeZeroes(start, end - start, random() < 0.7);
    expected.fill(0, start, end);
  } else if (choice < 0.87) {
    disk.trim(start, end - start);
    const now = new Uint8Array(end - start);
    disk.read(start, now, 0, now.length);
    for (let at = 0; at < now.length; at++) {
      if (now[at] === 0 || now[at] === expected[start + at]) continue;
      throw new Error(`byte ${start + at} reads neither as zero nor as before after a trim`);
    }
    expected.set(now, start);
  } else if (choice < 0.93) {
    await disk.flush();
  } else {
    const bytes = new Uint8Array(end - start);
    disk.read(start, bytes, 0, bytes.length);
    expect(Buffer.compare(bytes, expected.subarray(start, end))).toBe(0);
  }
}

export function contentOf(disk: Pick<DiskImage, 'sizeBytes' | 'read'>): Buffer {
  const bytes = Buffer.alloc(disk.sizeBytes, 0xee);
  disk.read(0, bytes, 0, bytes.length);
  return bytes;
}

/** Small and unaligned, whole sectors, or whole blocks. */
function range(size: number, random: () => number, unitBytes: number): [start: number, end: number] {
  const kind = random();
  const unit = Math.max(unitBytes, kind < 0.3 ? 1 : kind < 0.7 ? 512 : kind < 0.85 ? 512 * KIB : 2 * MIB);
  const start = Math.floor((random() * size) / unit) * unit;
  const most = unit === 1 ? 5000 : unit < 512 * KIB ? 40 * KIB : 3 * unit;
  const length = Math.max(unit, Math.floor((random() * most) / unit) * unit);
  return [start, Math.min(size, start + length)];
}
