import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compareVhds, convertVhd, createVhd, hashVhd, type MapEntry, mapVhd, openVhd } from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { hasProgram, TemporaryFolder } from '../vhdx/tools.ts';
import { MIB, qemuImg, sparseContents } from './disks.ts';

const SIZE_BYTES = 20 * MIB;
const needsQemu = test.skipIf(!hasProgram('qemu-img'));

/** Writes, zeroes and trims at random, in a chain of up to three files, beside a plain array that says what must come out. */
async function randomChain(
  folder: TemporaryFolder,
  ending: 'vhd' | 'vhdx',
  seed: number,
): Promise<{ path: string; contents: Buffer }> {
  const random = seededRandom(seed);
  const contents = Buffer.alloc(SIZE_BYTES);
  let path = '';
  const depth = 1 + (seed % 3);
  for (let layer = 0; layer < depth; layer++) {
    const parentPath = path;
    path = folder.file(`${seed}-${layer}.${ending}`);
    const blockSizeBytes = ending === 'vhd' ? (seed % 2 === 0 ? MIB / 2 : 2 * MIB) : MIB * 2 ** (seed % 3);
    await createVhd(path, parentPath === '' ? { sizeBytes: SIZE_BYTES, blockSizeBytes } : { parentPath });
    await using disk = await openVhd(path);
    for (let step = 0; step < 14; step++) {
      const offset = Math.floor((random() * SIZE_BYTES) / 512) * 512;
      const wanted = random() < 0.3 ? 3 * MIB : 20_000;
      const length = Math.min(SIZE_BYTES - offset, Math.ceil((random() * wanted) / 512) * 512);
      if (random() < 0.65) {
        const bytes = Buffer.alloc(length, 1 + Math.floor(random() * 255));
        disk.write(offset, bytes, 0, length);
        contents.set(bytes, offset);
      } else if (random() < 0.6) {
        disk.writeZeroes(offset, length, random() < 0.5);
        contents.fill(0, offset, offset + length);
      } else {
        disk.trim(offset, length);
        disk.read(offset, contents, offset, length);
      }
    }
  }
  return { path, contents };
}

/** What a map says, checked against what the disk must hold, and against the files that it names. */
function checkMap(entries: readonly MapEntry[], contents: Buffer, from = 0, to = contents.length): void {
  let at = from;
  for (const { offsetBytes, lengthBytes, kind, depth, path, fileOffsetBytes } of entries) {
    expect(offsetBytes).toBe(at);
    expect(lengthBytes).toBeGreaterThan(0);
    at += lengthBytes;
    const expected = contents.subarray(offsetBytes, offsetBytes + lengthBytes);
    if (kind === 'zero' || kind === 'unmapped') {
      expect(expected.equals(Buffer.alloc(lengthBytes))).toBe(true);
      expect({ path, fileOffsetBytes }).toEqual({ path: null, fileOffsetBytes: null });
      continue;
    }
    expect(kind === 'parent').toBe(depth > 0);
    const found = Buffer.alloc(lengthBytes);
    const fd = openSync(String(path), 'r');
    // The last block of a file may be cut off at its end: the rest reads as zero.
    readSync(fd, found, 0, lengthBytes, fileOffsetBytes);
    closeSync(fd);
    expect(found.equals(expected)).toBe(true);
  }
  expect(at).toBe(to);
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

describe('random disks', () => {
  for (const ending of ['vhdx', 'vhd'] as const) {
    test(`${ending}: map, hash, compare and every copy agree with a plain array`, async () => {
      for (let seed = 1; seed <= 4; seed++) {
        using folder = new TemporaryFolder();
        const { path, contents } = await randomChain(folder, ending, seed);
        checkMap(await mapVhd(path), contents);
        const offsetBytes = 3 * MIB + 512;
        const part = await mapVhd(path, { offsetBytes, lengthBytes: 5 * MIB });
        checkMap(part, contents, offsetBytes, offsetBytes + 5 * MIB);
        expect(await hashVhd(path)).toMatchObject({ hash: sha256(contents), virtualSizeBytes: SIZE_BYTES });

        const raw = folder.file('plain.raw');
        writeFileSync(raw, contents);
        expect(await compareVhds(path, raw, { strict: true })).toMatchObject({ equal: true });
        const random = seededRandom(seed + 100);
        const changed = Buffer.from(contents);
        const at = Math.floor(random() * SIZE_BYTES);
        changed[at] = (changed[at] ?? 0) ^ 0x40;
        const other = folder.file('changed.raw');
        writeFileSync(other, changed);
        for (const [first, second] of [
          [path, other],
          [other, path],
        ] as const) {
          expect(await compareVhds(first, second)).toMatchObject({ equal: false, firstDifferenceBytes: at });
        }

        // A child of the lowest file, from anything, has just the difference.
        const child = folder.file(`child.${ending}`);
        const parentPath = folder.file(`${seed}-0.${ending}`);
        await convertVhd(other, child, { parentPath });
        expect(await hashVhd(child)).toMatchObject({ hash: sha256(changed) });
        checkMap(await mapVhd(child), changed);
        const back = folder.file('back.raw');
        await convertVhd(child, back);
        expect(await hashVhd(back)).toMatchObject({ hash: sha256(changed) });
        checkMap(await mapVhd(back), changed);
      }
    });
  }
});

test('disks of different sizes are the same where only zeros follow', async () => {
  using folder = new TemporaryFolder();
  const contents = sparseContents(6 * MIB, 8);
  const short = folder.file('short.raw');
  const long = folder.file('long.vhdx');
  writeFileSync(short, contents);
  await convertVhd(short, long, { sizeBytes: 12 * MIB });
  const sizes = { firstSizeBytes: 12 * MIB, secondSizeBytes: 6 * MIB };
  expect(await compareVhds(long, short)).toMatchObject({ equal: true, firstDifferenceBytes: null, ...sizes });
  expect(await compareVhds(short, long, { strict: true })).toMatchObject({ firstDifferenceBytes: 6 * MIB });
  const disk = await openVhd(long);
  disk.write(9 * MIB + 17, Buffer.of(1), 0, 1);
  await disk.close();
  expect(await compareVhds(long, short)).toMatchObject({ equal: false, firstDifferenceBytes: 9 * MIB + 17 });
  expect(await compareVhds(long, short, { strict: true })).toMatchObject({ firstDifferenceBytes: 6 * MIB });
});

test('a disk of 64 TiB is mapped, compared and copied in a moment', async () => {
  using folder = new TemporaryFolder();
  const path = folder.file('huge.vhdx');
  const sizeBytes = 2 ** 46;
  await createVhd(path, { sizeBytes });
  const disk = await openVhd(path);
  for (const at of [0, 2 ** 45 + 512, sizeBytes - 512]) disk.write(at, Buffer.alloc(512, 9), 0, 512);
  await disk.close();
  const start = performance.now();
  const entries = await mapVhd(path);
  expect(entries.map(({ kind }) => kind)).toEqual(['data', 'unmapped', 'data', 'unmapped', 'data']);
  const copy = folder.file('copy.vhdx');
  const { copiedBytes } = await convertVhd(path, copy);
  expect(copiedBytes).toBeLessThan(4 * MIB);
  expect(await compareVhds(path, copy, { strict: true })).toMatchObject({ equal: true });
  expect(performance.now() - start).toBeLessThan(20_000);
});

describe('other formats', () => {
  needsQemu('are mapped with their places, and without where they are compressed', async () => {
    using folder = new TemporaryFolder();
    const contents = sparseContents(SIZE_BYTES, 21);
    const raw = folder.file('plain.raw');
    writeFileSync(raw, contents);
    for (const name of ['a.qcow2', 'a.vmdk', 'a.vdi']) {
      await convertVhd(raw, folder.file(name));
      checkMap(await mapVhd(folder.file(name)), contents);
    }
    const packed = folder.file('packed.qcow2');
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, packed);
    const entries = await mapVhd(packed);
    expect(entries.some(({ kind, fileOffsetBytes }) => kind === 'data' && fileOffsetBytes === null)).toBe(true);
    expect(entries.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)).toBe(SIZE_BYTES);
  });
});

test('a range outside of the disk is refused', async () => {
  using folder = new TemporaryFolder();
  const path = folder.file('a.vhdx');
  await createVhd(path, { sizeBytes: 8 * MIB });
  for (const range of [
    { offsetBytes: 8 * MIB, lengthBytes: 1 },
    { offsetBytes: -1 },
    { offsetBytes: 9 * MIB },
    { lengthBytes: Number.NaN },
  ]) {
    await expect(mapVhd(path, range)).rejects.toMatchObject({ code: 'invalid-argument' });
  }
  expect(await mapVhd(path, { offsetBytes: 8 * MIB })).toEqual([]);
});
