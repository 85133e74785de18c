import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { randomGuid } from '../binary/index.ts';
import { encodeGpt, gptUsableSectors } from '../formats/gpt/index.ts';
import { createVhd, openVhd, resizeVhd, smallestSafeSize, vhdInfo } from './index.ts';
import { readPartitionTable } from './volumes/partitions.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-resize-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

/** One partition from the first usable sector to `endBytes`. */
async function partition(path: string, diskSizeBytes: number, endBytes: number): Promise<void> {
  const { first } = gptUsableSectors(diskSizeBytes, 512);
  const disk = await openVhd(path);
  for (const { offset, bytes } of encodeGpt({
    diskId: randomGuid(),
    diskSizeBytes,
    sectorSizeBytes: 512,
    partitions: [
      {
        typeId: '0fc63daf-8483-4772-8e79-3d69d8477de4',
        partitionId: randomGuid(),
        firstSector: first,
        lastSector: endBytes / 512 - 1,
        name: 'data',
      },
    ],
  })) {
    disk.write(offset, bytes, 0, bytes.length);
  }
  disk.write(endBytes - 512, new Uint8Array(512).fill(9), 0, 512);
  await disk.close();
}

/** Both copies are whole, the second at the very end. */
async function tableOf(path: string): Promise<{ last: number | undefined; isAtEnd: boolean }> {
  const disk = await openVhd(path, { readOnly: true });
  try {
    const table = readPartitionTable(disk);
    if (table.kind !== 'gpt') throw new Error(table.kind);
    const header = new Uint8Array(8);
    disk.read(disk.sizeBytes - 512, header, 0, 8);
    const isAtEnd = Buffer.from(header).toString('latin1') === 'EFI PART';
    return { last: table.copy.alternateLba * 512 + 512, isAtEnd };
  } finally {
    await disk.close();
  }
}

describe('resizeVhd', () => {
  test.each(['disk.vhdx', 'disk.img', 'disk.vhd'])(
    '%s grows and shrinks, its partition table with it',
    async (name) => {
      const path = at(name);
      await createVhd(path, { sizeBytes: 64 * MIB });
      await partition(path, 64 * MIB, 20 * MIB);
      expect(await resizeVhd(path, 2 * GIB)).toEqual({
        path,
        oldSizeBytes: 64 * MIB,
        sizeBytes: 2 * GIB,
        smallestSafeSizeBytes: null,
      });
      expect(await tableOf(path)).toEqual({ last: 2 * GIB, isAtEnd: true });
      expect((await vhdInfo(path)).virtualSizeBytes).toBe(2 * GIB);
      await expect(resizeVhd(path, 16 * MIB)).rejects.toMatchObject({
        code: 'invalid-state',
        detail: { smallestSafeSizeBytes: expect.any(Number) },
      });
      expect((await vhdInfo(path)).virtualSizeBytes).toBe(2 * GIB);
      const least = await resizeVhd(path, 'minimum');
      expect(least.sizeBytes).toBe(least.smallestSafeSizeBytes);
      expect(least.sizeBytes).toBeLessThan(21 * MIB);
      expect(await tableOf(path)).toEqual({ last: least.sizeBytes, isAtEnd: true });
      const disk = await openVhd(path);
      const bytes = new Uint8Array(512);
      disk.read(20 * MIB - 512, bytes, 0, 512);
      expect(bytes[0]).toBe(9);
      expect(smallestSafeSize(disk)).toBe(least.sizeBytes);
      await disk.close();
      await resizeVhd(path, 8 * MIB, { unsafe: true });
      expect((await vhdInfo(path)).virtualSizeBytes).toBe(8 * MIB);
    },
  );

  test('a dry run says what would be, and changes nothing', async () => {
    const path = at('disk.vhdx');
    await createVhd(path, { sizeBytes: 64 * MIB });
    const before = statSync(path).mtimeMs;
    expect(await resizeVhd(path, 128 * MIB, { dryRun: true })).toMatchObject({ sizeBytes: 128 * MIB });
    expect(statSync(path).mtimeMs).toBe(before);
    expect((await vhdInfo(path)).virtualSizeBytes).toBe(64 * MIB);
  });

  test('a fixed disk that cannot fit is refused before it takes the whole file system', async () => {
    const path = at('disk.vhdx');
    await createVhd(path, { sizeBytes: 16 * MIB, type: 'fixed' });
    const { fileSizeBytes } = await vhdInfo(path);
    await expect(resizeVhd(path, 60 * 2 ** 40)).rejects.toMatchObject({ code: 'no-space' });
    expect(await vhdInfo(path)).toMatchObject({ fileSizeBytes, virtualSizeBytes: 16 * MIB });
    await resizeVhd(path, 20 * MIB);
    const grown = await vhdInfo(path);
    expect(grown.allocatedBytes).toBeGreaterThanOrEqual(20 * MIB);
  });

  test('a child resizes above its parent, which stays; sizes that no disk has are refused', async () => {
    await createVhd(at('base.vhdx'), { sizeBytes: 16 * MIB });
    const base = await openVhd(at('base.vhdx'));
    base.write(0, new Uint8Array(16 * MIB).fill(5), 0, 16 * MIB);
    await base.close();
    const path = at('child.vhdx');
    await createVhd(path, { type: 'differencing', parentPath: at('base.vhdx') });
    await resizeVhd(path, 8 * MIB, { unsafe: true });
    await resizeVhd(path, 32 * MIB);
    const child = await openVhd(path, { readOnly: true });
    const bytes = new Uint8Array(16 * MIB);
    child.read(0, bytes, 0, 16 * MIB);
    expect(bytes.indexOf(0)).toBe(8 * MIB);
    expect(bytes.lastIndexOf(5)).toBe(8 * MIB - 1);
    await child.close();
    expect((await vhdInfo(at('base.vhdx'))).virtualSizeBytes).toBe(16 * MIB);
    for (const size of [0, 1000, -512, Number.NaN, 2 ** 60]) {
      await expect(resizeVhd(path, size, { unsafe: true })).rejects.toMatchObject({ code: 'invalid-argument' });
    }
    await expect(resizeVhd(at('none.vhdx'), GIB)).rejects.toMatchObject({ code: 'not-found' });
  });
});
