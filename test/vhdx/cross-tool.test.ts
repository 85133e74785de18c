import { execFileSync } from 'node:child_process';
import { closeSync, copyFileSync, openSync, readSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createVhd, mergeIntoParent, openChain, vhdInfo } from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { hasProgram, qemuCheck, TemporaryFolder, vhdiInfo } from './tools.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 96 * MIB;

/** The tools are not part of hv; where one is missing, what it would say cannot be known. */
const needsQemu = test.skipIf(!hasProgram('qemu-img'));
const needsVhdi = test.skipIf(!hasProgram('vhdiinfo'));

/** Writes, zeroes, trims, flushes and re-opens at random, beside a plain buffer that says what must come out. */
async function workOn(path: string, expected: Uint8Array, seed: number, rounds = 120): Promise<void> {
  const random = seededRandom(seed);
  let disk = openChain(path);
  for (let round = 0; round < rounds; round++) {
    const choice = random();
    const offset = Math.floor((random() * SIZE_BYTES) / 512) * 512;
    const length = Math.min(
      SIZE_BYTES - offset,
      Math.ceil((random() * (random() < 0.1 ? 5 * MIB : 70_000)) / 512) * 512,
    );
    if (choice < 0.7) {
      const bytes = new Uint8Array(length).fill(1 + (round % 250));
      disk.write(offset, bytes, 0, length);
      expected.set(bytes, offset);
    } else if (choice < 0.8) {
      disk.writeZeroes(offset, length, random() < 0.5);
      expected.fill(0, offset, offset + length);
    } else if (choice < 0.88) {
      disk.trim(offset, length);
      disk.read(offset, expected, offset, length);
    } else if (choice < 0.95) {
      await disk.flush();
    } else {
      await disk.close();
      disk = openChain(path);
    }
  }
  await disk.close();
}

function rawContent(path: string): Buffer {
  const bytes = Buffer.alloc(SIZE_BYTES);
  const fd = openSync(path, 'r');
  try {
    readSync(fd, bytes, 0, SIZE_BYTES, 0);
  } finally {
    closeSync(fd);
  }
  return bytes;
}

async function content(path: string): Promise<Buffer> {
  const disk = openChain(path, { readOnly: true });
  const bytes = Buffer.alloc(SIZE_BYTES);
  disk.read(0, bytes, 0, SIZE_BYTES);
  await disk.close();
  return bytes;
}

describe('other programs read what hv wrote', () => {
  for (const [type, blockSizeBytes] of [
    ['dynamic', MIB],
    ['dynamic', 2 * MIB],
    ['dynamic', 32 * MIB],
    ['fixed', 2 * MIB],
  ] as const) {
    needsQemu(`qemu-img reads a ${type} disk with blocks of ${blockSizeBytes / MIB} MiB`, async () => {
      using folder = new TemporaryFolder();
      const path = folder.file('Платте "1" – disk.vhdx');
      await createVhd(path, { sizeBytes: SIZE_BYTES, type, blockSizeBytes });
      qemuCheck(path);
      const expected = new Uint8Array(SIZE_BYTES);
      await workOn(path, expected, blockSizeBytes / MIB + (type === 'fixed' ? 100 : 0));
      qemuCheck(path);
      execFileSync('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', path, folder.file('out.raw')]);
      expect(rawContent(folder.file('out.raw')).equals(expected)).toBe(true);
      expect((await content(path)).equals(expected)).toBe(true);
    });
  }

  needsVhdi('vhdiinfo reads every type, also with sectors of 4096 bytes', async () => {
    using folder = new TemporaryFolder();
    for (const type of ['dynamic', 'fixed', 'differencing'] as const) {
      for (const logicalSectorSizeBytes of [512, 4096]) {
        const parentPath = folder.file(`dynamic-${logicalSectorSizeBytes}.vhdx`);
        const path = folder.file(`${type}-${logicalSectorSizeBytes}.vhdx`);
        await createVhd(path, {
          type,
          logicalSectorSizeBytes,
          ...(type === 'differencing' ? { parentPath } : { sizeBytes: SIZE_BYTES }),
        });
        const expected = new Uint8Array(SIZE_BYTES);
        if (type === 'differencing') expected.set(await content(parentPath));
        await workOn(path, expected, 5, 30);
        expect((await content(path)).equals(expected)).toBe(true);
        const { dataWriteGuid } = await vhdInfo(path);
        const said = vhdiInfo(path);
        expect(said).toContain(
          `Disk type\t\t: ${{ dynamic: 'Dynamic', fixed: 'Fixed', differencing: 'Differential' }[type]}`,
        );
        expect(said).toContain(`(${SIZE_BYTES} bytes)`);
        expect(said).toContain(dataWriteGuid);
      }
    }
  });

  needsQemu('a chain of three, merged down file by file, ends as the disk that it was', async () => {
    using folder = new TemporaryFolder();
    const [base, middle, leaf] = ['base.vhdx', 'middle.avhdx', 'leaf.avhdx'].map((name) => folder.file(name)) as [
      string,
      string,
      string,
    ];
    const expected = new Uint8Array(SIZE_BYTES);
    await createVhd(base, { sizeBytes: SIZE_BYTES });
    await workOn(base, expected, 31);
    await createVhd(middle, { parentPath: base });
    await workOn(middle, expected, 32);
    await createVhd(leaf, { parentPath: middle, blockSizeBytes: MIB });
    await workOn(leaf, expected, 33);
    expect((await content(leaf)).equals(expected)).toBe(true);
    if (hasProgram('vhdiinfo')) expect(vhdiInfo(leaf)).toContain('Parent identifier');
    await mergeIntoParent(leaf);
    await mergeIntoParent(leaf);
    expect((await content(leaf)).equals(expected)).toBe(true);
    expect((await content(middle)).equals(expected)).toBe(true);
    await mergeIntoParent(middle);
    qemuCheck(base);
    execFileSync('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', base, folder.file('out.raw')]);
    expect(rawContent(folder.file('out.raw')).equals(expected)).toBe(true);
  });
});

describe('a disk whose writer died', () => {
  needsQemu('is repaired by qemu-img from our log, to what hv itself reads', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('running.vhdx');
    await createVhd(path, { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB });
    const disk = openChain(path);
    const random = seededRandom(8);
    for (let round = 0; round < 300; round++) {
      const offset = Math.floor((random() * (SIZE_BYTES - 8192)) / 512) * 512;
      if (random() < 0.8) disk.write(offset, new Uint8Array(8192).fill(round), 0, 8192);
      else if (random() < 0.5) disk.writeZeroes(Math.floor(offset / MIB) * MIB, MIB, true);
      else await disk.flush();
      if (round % 100 !== 99) continue;
      // The file as it lies there now is what a killed process leaves.
      for (const name of ['ours.vhdx', 'theirs.vhdx']) copyFileSync(path, folder.file(name));
      execFileSync('qemu-img', ['check', '-r', 'all', folder.file('theirs.vhdx')], { stdio: 'pipe' });
      const raw = folder.file('out.raw');
      execFileSync('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', folder.file('theirs.vhdx'), raw]);
      const running = Buffer.alloc(SIZE_BYTES);
      disk.read(0, running, 0, SIZE_BYTES);
      expect(rawContent(raw).equals(running)).toBe(true);
      expect((await content(folder.file('ours.vhdx'))).equals(running)).toBe(true);
      await openChain(folder.file('ours.vhdx')).close();
      qemuCheck(folder.file('ours.vhdx'));
      qemuCheck(folder.file('theirs.vhdx'));
    }
    await disk.close();
  });
});

describe('hv reads and writes what others wrote', () => {
  for (const subformat of ['dynamic', 'fixed']) {
    needsQemu(`a ${subformat} disk by qemu-img`, async () => {
      using folder = new TemporaryFolder();
      const expected = new Uint8Array(SIZE_BYTES);
      const random = seededRandom(9);
      for (let index = 0; index < 200; index++) expected.fill(index, ...range(random));
      writeFileSync(folder.file('in.raw'), expected);
      const path = folder.file('disk.vhdx');
      execFileSync('qemu-img', [
        'convert',
        '-f',
        'raw',
        '-O',
        'vhdx',
        '-o',
        `subformat=${subformat}`,
        folder.file('in.raw'),
        path,
      ]);
      expect((await content(path)).equals(expected)).toBe(true);
      await workOn(path, expected, 77);
      qemuCheck(path);
      execFileSync('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', path, folder.file('out.raw')]);
      expect(rawContent(folder.file('out.raw')).equals(expected)).toBe(true);
    });
  }
});

function range(random: () => number): [start: number, end: number] {
  const start = Math.floor(random() * SIZE_BYTES);
  return [start, Math.min(SIZE_BYTES, start + Math.floor(random() * 100_000))];
}
