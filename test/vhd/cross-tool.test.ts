import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readSync, statSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createVhd, mergeIntoParent, openChain, setParent, vhdInfo } from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { hasProgram } from '../vhdx/tools.ts';
import { contentOf, KIB, MIB, operate } from './model.ts';
import { qemuInfo, qemuToRaw, TemporaryFolder } from './tools.ts';

/** No multiple of the block size, nor of a cylinder. */
const SIZE_BYTES = 33 * MIB + 7 * 512;

const needsQemu = test.skipIf(!hasProgram('qemu-img'));
const needsVhdi = test.skipIf(!hasProgram('vhdiinfo'));

/** Debian's module for the system's own Python, which another one in PATH does not find. */
const PYTHON = '/usr/bin/python3';
function hasVhdiModule(): boolean {
  try {
    execFileSync(PYTHON, ['-c', 'import pyvhdi'], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // Python or the module is missing: the title of the test says so.
  }
}
/** Its package brings the one or the other. */
const SEVEN_ZIP = ['7zz', '7z'].find(hasProgram);
const needsSevenZip = test.skipIf(SEVEN_ZIP === undefined);
const needsVhdiModule = test.skipIf(!hasVhdiModule());

/** Opens a chain, leaf first, each file told its parent, and copies what it reads. */
const READ_CHAIN = `
import sys, pyvhdi
target, paths = sys.argv[1], sys.argv[2:]
files = []
for path in reversed(paths):
    disk = pyvhdi.file()
    disk.open(path)
    if files:
        assert disk.get_parent_identifier() == files[-1].get_identifier(), 'the identifiers differ'
        disk.set_parent(files[-1])
    files.append(disk)
with open(target, 'wb') as out:
    left = files[-1].get_media_size()
    while left > 0:
        piece = files[-1].read(min(left, 4096))
        assert piece, 'the disk ends early'
        out.write(piece)
        left -= len(piece)
print(files[-1].get_parent_filename() or '')
`;

async function workOn(path: string, expected: Uint8Array, seed: number, rounds = 120, unitBytes = 1): Promise<void> {
  const random = seededRandom(seed);
  let disk = openChain(path);
  for (let round = 0; round < rounds; round++) {
    await operate(disk, expected, random, unitBytes);
    if (random() < 0.02) {
      await disk.close();
      disk = openChain(path);
    }
  }
  await disk.close();
}

async function makeLayer(folder: TemporaryFolder, depth: number, parentPath: string | undefined): Promise<string> {
  const { path } = await createVhd(folder.file(`${depth}.vhd`), {
    ...(parentPath === undefined ? { sizeBytes: SIZE_BYTES } : { parentPath }),
    blockSizeBytes: depth % 2 === 0 ? 2 * MIB : 512 * KIB,
  });
  return path;
}

/** What 7-Zip reads from a VHD and the parents that its locators lead to. */
function sevenZipContent(folder: TemporaryFolder, path: string): Buffer {
  execFileSync(SEVEN_ZIP ?? '7zz', ['x', '-tVHD', '-y', `-o${folder.file('unpacked')}`, path], {
    stdio: 'pipe',
    cwd: '/',
  });
  return rawContent(join(folder.file('unpacked'), `${basename(path, '.vhd')}.img`));
}

async function content(path: string): Promise<Buffer> {
  const disk = openChain(path, { readOnly: true });
  try {
    return contentOf(disk);
  } finally {
    await disk.close();
  }
}

function rawContent(path: string): Buffer {
  const fd = openSync(path, 'r');
  try {
    const bytes = Buffer.alloc(statSync(path).size);
    readSync(fd, bytes, 0, bytes.length, 0);
    return bytes;
  } finally {
    closeSync(fd);
  }
}

describe('what hv wrote', () => {
  for (const [type, blockSizeBytes] of [
    ['dynamic', 2 * MIB],
    ['dynamic', 512 * KIB],
    ['fixed', undefined],
  ] as const) {
    needsQemu(
      `qemu-img reads a ${type} disk${blockSizeBytes ? ` with blocks of ${blockSizeBytes / KIB} KiB` : ''}`,
      async () => {
        using folder = new TemporaryFolder();
        const path = folder.file('disk.vhd');
        await createVhd(path, { type, sizeBytes: SIZE_BYTES, blockSizeBytes });
        const expected = new Uint8Array(SIZE_BYTES);
        await workOn(path, expected, blockSizeBytes ?? 3);
        expect((await content(path)).equals(expected)).toBe(true);
        expect(qemuInfo(path)['virtual-size']).toBe(SIZE_BYTES);
        qemuToRaw(path, folder.file('out.raw'));
        expect(rawContent(folder.file('out.raw')).equals(expected)).toBe(true);
        const compare = ['compare', '-f', 'vpc', '-F', 'raw', path, folder.file('out.raw')];
        expect(execFileSync('qemu-img', compare).toString()).toMatch(/identical/);
      },
    );
  }

  needsVhdi('vhdiinfo knows every type of it', async () => {
    using folder = new TemporaryFolder();
    await createVhd(folder.file('fixed.vhd'), { type: 'fixed', sizeBytes: SIZE_BYTES });
    const base = await createVhd(folder.file('base.vhd'), { sizeBytes: SIZE_BYTES });
    await createVhd(folder.file('child.vhd'), { parentPath: base.path });
    const said = (name: string): string => execFileSync('vhdiinfo', [folder.file(name)], { stdio: 'pipe' }).toString();
    expect(said('fixed.vhd')).toMatch(/Disk type\s*: Fixed/);
    expect(said('base.vhd')).toMatch(/Disk type\s*: Dynamic/);
    expect(said('base.vhd')).toContain(`(${SIZE_BYTES} bytes)`);
    expect(said('child.vhd')).toMatch(/Disk type\s*: Differential/);
    expect(said('child.vhd')).toMatch(/Parent filename\s*: .*base\.vhd/);
  });

  needsSevenZip(
    '7-Zip reads a chain of four, whose parents it finds itself, until it is merged down to one',
    async () => {
      using folder = new TemporaryFolder();
      const expected = new Uint8Array(SIZE_BYTES);
      const paths: string[] = [];
      for (let depth = 0; depth < 4; depth++) {
        paths.unshift(await makeLayer(folder, depth, paths[0]));
        await workOn(paths[0] ?? '', expected, 40 + depth, 50);
        expect(sevenZipContent(folder, paths[0] ?? '').equals(expected)).toBe(true);
      }
      for (let leaf = paths.shift(); leaf !== undefined && paths[0] !== undefined; leaf = paths.shift()) {
        await mergeIntoParent(leaf);
        expect((await content(paths[0])).equals(expected)).toBe(true);
        expect(sevenZipContent(folder, paths[0]).equals(expected)).toBe(true);
      }
    },
  );

  // It takes a run of set bits that ends within a byte as if it went on to the byte's end, and loses its way in reads that
  // cross from one file's block to another's: so the disk is written and read in whole pages.
  needsVhdiModule('libvhdi reads a chain of four, written in whole pages (needs python3-libvhdi)', async () => {
    using folder = new TemporaryFolder();
    const expected = new Uint8Array(SIZE_BYTES);
    const paths: string[] = [];
    for (let depth = 0; depth < 4; depth++) {
      paths.unshift(await makeLayer(folder, depth, paths[0]));
      await workOn(paths[0] ?? '', expected, 50 + depth, 50, 4 * KIB);
      const raw = folder.file('out.raw');
      const said = execFileSync(PYTHON, ['-c', READ_CHAIN, raw, ...paths], { stdio: 'pipe' }).toString();
      expect(rawContent(raw).equals(expected)).toBe(true);
      if (depth > 0) expect(said).toContain(`${depth - 1}.vhd`);
    }
  });

  needsSevenZip('a child that is linked anew, and anew, leads 7-Zip to each parent', async () => {
    using folder = new TemporaryFolder();
    const parents: { readonly path: string; readonly expected: Uint8Array }[] = [];
    for (const name of ['a.vhd', 'a longer name than before, for good measure.vhd']) {
      const { path } = await createVhd(folder.file(name), { sizeBytes: SIZE_BYTES });
      const expected = new Uint8Array(SIZE_BYTES);
      await workOn(path, expected, name.length, 30);
      parents.push({ path, expected });
    }
    const child = await makeLayer(folder, 1, parents[0]?.path);
    const bytes = new Uint8Array(512).fill(0xc5);
    const disk = openChain(child);
    disk.write(7 * 512, bytes, 0, 512);
    await disk.close();
    for (const { path, expected } of [...parents, ...parents, ...parents]) {
      await setParent(child, path, { ignoreMismatch: true });
      expect(await vhdInfo(child)).toMatchObject({ parentPath: path, parentFound: true });
      const wanted = Buffer.from(expected);
      wanted.set(bytes, 7 * 512);
      expect((await content(child)).equals(wanted)).toBe(true);
      expect(sevenZipContent(folder, child).equals(wanted)).toBe(true);
    }
  });

  needsQemu('qemu-img reads a disk after it was grown, shrunk and reclaimed', async () => {
    using folder = new TemporaryFolder();
    for (const type of ['dynamic', 'fixed'] as const) {
      const path = folder.file(`${type}.vhd`);
      await createVhd(path, { type, sizeBytes: 8 * MIB, ...(type === 'dynamic' ? { blockSizeBytes: 512 * KIB } : {}) });
      let expected = new Uint8Array(8 * MIB);
      for (const [index, size] of [
        40 * MIB + 512,
        5 * MIB + 100 * 512,
        5 * MIB + 101 * 512,
        20 * MIB,
        3 * MIB + 512,
        9 * MIB,
      ].entries()) {
        await workOn(path, expected, 90 + index, 40);
        const disk = openChain(path);
        disk.resize(size);
        expect(disk.sizeBytes).toBe(size);
        const resized = new Uint8Array(size);
        resized.set(expected.subarray(0, size));
        expected = resized;
        expect(contentOf(disk).equals(expected)).toBe(true);
        await disk.close();
        expect(qemuInfo(path)['virtual-size']).toBe(size);
        qemuToRaw(path, folder.file('out.raw'));
        expect(rawContent(folder.file('out.raw')).equals(expected)).toBe(true);
      }
    }
  });

  needsQemu('a table that grows from one sector to thousands moves the blocks in its way', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhd');
    await createVhd(path, { sizeBytes: 8 * MIB, blockSizeBytes: 512 * KIB });
    const first = openChain(path);
    const bytes = Buffer.alloc(MIB, 5);
    for (const at of [0, 2 * MIB, 7 * MIB]) first.write(at, bytes, 0, MIB);
    await first.close();
    const disk = openChain(path);
    disk.resize(2040 * 2 ** 30);
    for (const at of [0, 2 * MIB, 7 * MIB]) {
      const got = Buffer.alloc(MIB);
      disk.read(at, got, 0, MIB);
      expect(got.equals(bytes)).toBe(true);
    }
    disk.write(disk.sizeBytes - MIB, bytes, 0, MIB);
    await disk.close();
    expect(qemuInfo(path)['virtual-size']).toBe(2040 * 2 ** 30);
    const compared = execFileSync('qemu-io', [
      '-r',
      '-f',
      'vpc',
      '-c',
      `read -P 5 7M 1M`,
      '-c',
      `read -P 5 ${2040 * 2 ** 30 - MIB} 1M`,
      path,
    ]);
    expect(compared.toString()).not.toMatch(/fail/i);
  });
});

describe('what others wrote', () => {
  for (const [subformat, force] of [
    ['dynamic', 'on'],
    ['dynamic', 'off'],
    ['fixed', 'on'],
  ] as const) {
    needsQemu(`a ${subformat} disk by qemu-img, force_size=${force}`, async () => {
      using folder = new TemporaryFolder();
      const random = seededRandom(9);
      const written = new Uint8Array(SIZE_BYTES);
      for (let index = 0; index < 200; index++) {
        const start = Math.floor(random() * SIZE_BYTES);
        written.fill(index, start, Math.min(SIZE_BYTES, start + Math.floor(random() * 100_000)));
      }
      writeFileSync(folder.file('in.raw'), written);
      const path = folder.file('disk.vhd');
      const options = `subformat=${subformat},force_size=${force}`;
      execFileSync('qemu-img', ['convert', '-f', 'raw', '-O', 'vpc', '-o', options, folder.file('in.raw'), path]);
      // By its geometry the disk is as large as whole cylinders, which qemu-img rounds up to.
      const size = qemuInfo(path)['virtual-size'];
      expect(force === 'on' ? size === SIZE_BYTES : size > SIZE_BYTES).toBe(true);
      const expected = new Uint8Array(size);
      expected.set(written);
      expect(await vhdInfo(path)).toMatchObject({ format: 'vhd', type: subformat, virtualSizeBytes: size });
      expect((await content(path)).equals(expected)).toBe(true);
      await workOn(path, expected, 77);
      expect(qemuInfo(path)['virtual-size']).toBe(size);
      qemuToRaw(path, folder.file('out.raw'));
      expect(rawContent(folder.file('out.raw')).equals(expected)).toBe(true);
    });
  }
});
