import { execFileSync } from 'node:child_process';
import { readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  checkVhd,
  compareVhds,
  convertVhd,
  createVhd,
  hashVhd,
  mergeIntoParent,
  openVhd,
  vhdInfo,
} from '../../src/disk/index.ts';
import { hasProgram, qemuCheck, TemporaryFolder } from '../vhdx/tools.ts';
import { contentsOf, filesIn, MIB, qemuImg, qemuSaysEqual, sparseContents } from './disks.ts';

const SIZE_BYTES = 24 * MIB + 1536;
const needsQemu = test.skipIf(!hasProgram('qemu-img'));
const SEVEN_ZIP = ['7zz', '7z'].find(hasProgram);

/** Every own form of a disk, by the name of its file. */
const OWN = [
  { name: 'raw.raw', options: {} },
  { name: 'raw-fixed.raw', options: { type: 'fixed' } },
  { name: 'dynamic.vhdx', options: { blockSizeBytes: MIB } },
  { name: 'large-blocks.vhdx', options: {} },
  { name: 'fixed.vhdx', options: { type: 'fixed' } },
  { name: 'dynamic.vhd', options: {} },
  { name: 'small-blocks.vhd', options: { blockSizeBytes: 512 * 1024 } },
  { name: 'fixed.vhd', options: { type: 'fixed' } },
] as const;
/** One for each format and type: what the second copy of a pair is made in. */
const SECOND = OWN.filter(({ name }) => !['raw-fixed.raw', 'large-blocks.vhdx', 'small-blocks.vhd'].includes(name));
const FOREIGN = [
  { name: 'other.qcow2', options: {} },
  { name: 'other.vmdk', options: {} },
  { name: 'other.vdi', options: {} },
] as const;

function folderWithRaw(seed = 1): { folder: TemporaryFolder; raw: string; contents: Buffer } & Disposable {
  const folder = new TemporaryFolder();
  const contents = sparseContents(SIZE_BYTES, seed);
  const raw = folder.file('source.raw');
  writeFileSync(raw, contents);
  return { folder, raw, contents, [Symbol.dispose]: () => folder[Symbol.dispose]() };
}

describe('a disk that is converted', () => {
  for (const first of OWN) {
    test(`to ${first.name} and on to every own form holds the same`, async () => {
      using made = folderWithRaw();
      const { folder, raw, contents } = made;
      const path = folder.file(first.name);
      const result = await convertVhd(raw, path, first.options);
      expect(result.virtualSizeBytes).toBe(SIZE_BYTES);
      expect(contents.equals(await contentsOf(path))).toBe(true);
      for (const second of SECOND) {
        const copy = folder.file(`copy-${second.name}`);
        const { type } = await convertVhd(path, copy, second.options);
        expect(type).toBe((await vhdInfo(copy)).type);
        expect(contents.equals(await contentsOf(copy))).toBe(true);
        expect(await compareVhds(raw, copy, { strict: true })).toMatchObject({ equal: true });
        if (!copy.endsWith('.raw')) expect(await checkVhd(copy)).toMatchObject({ isSound: true, findings: [] });
      }
    });
  }

  for (const { name, options } of OWN) {
    needsQemu(`to ${name} is what qemu-img reads`, async () => {
      using made = folderWithRaw();
      const { folder, raw } = made;
      const path = folder.file(name);
      await convertVhd(raw, path, options);
      expect(qemuSaysEqual(raw, path)).toBe(true);
      if (name.endsWith('.vhdx')) qemuCheck(path);
    });
  }

  for (const { name, options } of FOREIGN) {
    needsQemu(`to ${name} and from there to every own form holds the same`, async () => {
      using made = folderWithRaw();
      const { folder, raw, contents } = made;
      const vhdx = folder.file('from.vhdx');
      await convertVhd(raw, vhdx);
      for (const source of [raw, vhdx]) {
        const path = folder.file(`${source === raw ? 'raw' : 'vhdx'}-${name}`);
        const result = await convertVhd(source, path, options);
        expect(result).toMatchObject({ virtualSizeBytes: SIZE_BYTES, type: 'dynamic' });
        expect(qemuSaysEqual(raw, path)).toBe(true);
        qemuCheck(path, result.format);
        expect(await compareVhds(path, raw, { strict: true })).toMatchObject({ equal: true });
        for (const second of source === raw ? SECOND : []) {
          const copy = folder.file(second.name);
          await convertVhd(path, copy, second.options);
          expect(contents.equals(await contentsOf(copy))).toBe(true);
        }
      }
      expect(filesIn(folder.path).filter((file) => file.startsWith('.'))).toEqual([]);
    });
  }

  for (const { name } of FOREIGN) {
    needsQemu(`to ${name} is sound after qemu has written all over it`, async () => {
      using made = folderWithRaw(3);
      const { folder, raw } = made;
      const path = folder.file(name);
      const { format } = await convertVhd(raw, path, { sizeBytes: 40 * MIB });
      const twin = folder.file('twin.raw');
      writeFileSync(twin, made.contents);
      truncateSync(twin, 40 * MIB);
      expect(qemuSaysEqual(twin, path)).toBe(true);
      const writes = [0, 4.5, 11, 23.9, 39].flatMap((at, index) => [
        '-c',
        `write -P ${index + 1} ${Math.floor(at * 16) * 65_536} 700k`,
      ]);
      for (const [file, driver] of [
        [path, format],
        [twin, 'raw'],
      ] as const) {
        execFileSync('qemu-io', ['-f', driver, ...writes, file], { stdio: 'pipe' });
      }
      qemuCheck(path, format);
      expect(qemuSaysEqual(twin, path)).toBe(true);
    });

    test.skipIf(SEVEN_ZIP === undefined)(`to ${name} is what 7-Zip reads`, async () => {
      using made = folderWithRaw(4);
      const { folder, raw, contents } = made;
      const path = folder.file(name);
      await convertVhd(raw, path);
      const unpacked = execFileSync(
        SEVEN_ZIP ?? '7zz',
        ['x', `-t${name.slice('other.'.length, 'other.'.length + 4)}`, '-so', path],
        {
          maxBuffer: 2 * SIZE_BYTES,
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      );
      expect(contents.equals(unpacked)).toBe(true);
    });

    needsQemu(`to ${name} takes no space for zeros, however large the disk`, async () => {
      using folder = new TemporaryFolder();
      const sizeBytes = 3 * 2 ** 40;
      const source = folder.file('large.vhdx');
      await createVhd(source, { sizeBytes });
      await using disk = await openVhd(source);
      const bytes = Buffer.alloc(300_000, 9);
      for (const at of [0, 2 ** 40 + 12_288, sizeBytes - bytes.length]) disk.write(at, bytes, 0, bytes.length);
      await disk.close();
      const path = folder.file(name);
      const { allocatedBytes, virtualSizeBytes, format } = await convertVhd(source, path);
      expect(virtualSizeBytes).toBe(sizeBytes);
      expect(allocatedBytes).toBeLessThan(20 * MIB);
      qemuCheck(path, format);
      expect(await compareVhds(source, path, { strict: true })).toMatchObject({ equal: true });
    });
  }

  needsQemu('between two foreign formats, and from one that is compressed', async () => {
    using made = folderWithRaw();
    const { folder, raw, contents } = made;
    const packed = folder.file('packed.qcow2');
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', raw, packed);
    const packedVmdk = folder.file('packed.vmdk');
    qemuImg('convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized', raw, packedVmdk);
    for (const source of [packed, packedVmdk]) {
      const vdi = `${source}.vdi`;
      await convertVhd(source, vdi);
      expect(qemuSaysEqual(raw, vdi)).toBe(true);
      const vhdx = `${source}.vhdx`;
      await convertVhd(source, vhdx);
      expect(contents.equals(await contentsOf(vhdx))).toBe(true);
      expect(await hashVhd(source)).toMatchObject({ hash: (await hashVhd(raw)).hash });
    }
  });

  needsQemu('that another program made: a dynamic VHDX of qemu-img', async () => {
    using made = folderWithRaw(5);
    const { folder, raw, contents } = made;
    for (const subformat of ['dynamic', 'fixed']) {
      const foreign = folder.file(`qemu-${subformat}.vhdx`);
      qemuImg('convert', '-f', 'raw', '-O', 'vhdx', '-o', `subformat=${subformat}`, raw, foreign);
      const copy = folder.file(`${subformat}.raw`);
      await convertVhd(foreign, copy);
      expect(contents.equals(await contentsOf(copy))).toBe(true);
    }
  });

  needsQemu("names a vmdk's extent as the file is called, whatever the name", async () => {
    using made = folderWithRaw();
    const { folder, raw } = made;
    const path = folder.file('with space $& .vmdk');
    await convertVhd(raw, path);
    const info = JSON.parse(qemuImg('info', '--output=json', '-f', 'vmdk', path));
    expect(JSON.stringify(info)).not.toContain('/proc/');
    expect(readFileSync(path).subarray(0, 4096).toString('latin1')).toContain('SPARSE "with space $& .vmdk"');
    expect(qemuSaysEqual(raw, path)).toBe(true);
  });
});

test('what is zero takes no space in the copy, whether it is a hole in the source or not', async () => {
  using folder = new TemporaryFolder();
  const raw = folder.file('zeros.raw');
  const contents = Buffer.alloc(32 * MIB);
  contents.fill(7, 9.5 * MIB + 5, 9.5 * MIB + 9);
  writeFileSync(raw, contents);
  const copy = folder.file('copy.raw');
  const { copiedBytes } = await convertVhd(raw, copy);
  expect(copiedBytes).toBeLessThanOrEqual(64 * 1024);
  expect(statSync(copy).blocks * 512).toBeLessThanOrEqual(MIB);
  const vhdx = folder.file('copy.vhdx');
  await convertVhd(raw, vhdx, { blockSizeBytes: MIB });
  expect(statSync(vhdx).size).toBe(5 * MIB);
  expect(contents.equals(await contentsOf(vhdx))).toBe(true);
});

test('a fixed copy has all of its space at once', async () => {
  using made = folderWithRaw();
  const { allocatedBytes } = await convertVhd(made.raw, made.folder.file('fixed.vhdx'), { type: 'fixed' });
  expect(allocatedBytes).toBeGreaterThanOrEqual(SIZE_BYTES);
});

describe('sizes, sectors and identifiers', () => {
  test('a file that ends within a sector is filled up with zeros', async () => {
    using folder = new TemporaryFolder();
    const raw = folder.file('odd.raw');
    const contents = Buffer.alloc(4 * MIB + 100, 3);
    writeFileSync(raw, contents);
    for (const name of ['odd.vhdx', 'copy.raw']) {
      const { virtualSizeBytes } = await convertVhd(raw, folder.file(name));
      expect(virtualSizeBytes).toBe(4 * MIB + 512);
      const copy = await contentsOf(folder.file(name));
      expect(copy.subarray(0, contents.length).equals(contents)).toBe(true);
      expect(copy.subarray(contents.length).every((byte) => byte === 0)).toBe(true);
    }
  });

  test('sectors of 4096 bytes stay unless others are asked for', async () => {
    using folder = new TemporaryFolder();
    const source = folder.file('4k.vhdx');
    const sizeBytes = 12 * MIB;
    await createVhd(source, { sizeBytes, logicalSectorSizeBytes: 4096, blockSizeBytes: MIB });
    const contents = sparseContents(sizeBytes, 9);
    await using disk = await openVhd(source);
    disk.write(0, contents, 0, sizeBytes);
    await disk.close();
    const same = folder.file('same.vhdx');
    const other = folder.file('other.vhdx');
    expect(await convertVhd(source, same)).toMatchObject({ logicalSectorSizeBytes: 4096 });
    expect(await convertVhd(source, other, { logicalSectorSizeBytes: 512 })).toMatchObject({
      logicalSectorSizeBytes: 512,
    });
    expect(await vhdInfo(same)).toMatchObject({ logicalSectorSizeBytes: 4096 });
    expect(await vhdInfo(other)).toMatchObject({ logicalSectorSizeBytes: 512 });
    for (const copy of [same, other]) expect(contents.equals(await contentsOf(copy))).toBe(true);
    const raw = folder.file('copy.raw');
    await convertVhd(source, raw);
    expect(contents.equals(await contentsOf(raw))).toBe(true);
  });

  test('the copy has a new id, the same, or a given one', async () => {
    using made = folderWithRaw();
    const { folder, raw } = made;
    const source = folder.file('source.vhdx');
    await convertVhd(raw, source);
    const { identifier } = await vhdInfo(source);
    const given = '01234567-89ab-cdef-0123-456789abcdef';
    for (const [name, virtualDiskId, expected] of [
      ['new.vhdx', undefined, expect.not.stringMatching(String(identifier))],
      ['kept.vhdx', 'keep', identifier],
      ['given.vhdx', given.toUpperCase(), given],
    ] as const) {
      await convertVhd(source, folder.file(name), { virtualDiskId });
      expect((await vhdInfo(folder.file(name))).identifier).toEqual(expected);
    }
    await expect(convertVhd(raw, folder.file('x.vhdx'), { virtualDiskId: 'keep' })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await expect(convertVhd(raw, folder.file('x.vhdx'), { virtualDiskId: 'nonsense' })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  });

  test('the copy may be larger, never smaller', async () => {
    using made = folderWithRaw();
    const { folder, raw, contents } = made;
    const larger = folder.file('larger.vhdx');
    await convertVhd(raw, larger, { sizeBytes: 40 * MIB });
    const copy = await contentsOf(larger);
    expect(copy.length).toBe(40 * MIB);
    expect(copy.subarray(0, SIZE_BYTES).equals(contents)).toBe(true);
    expect(await compareVhds(raw, larger)).toMatchObject({ equal: true });
    expect(await compareVhds(raw, larger, { strict: true })).toMatchObject({
      equal: false,
      firstDifferenceBytes: SIZE_BYTES,
    });
    await expect(convertVhd(raw, folder.file('smaller.vhdx'), { sizeBytes: 4 * MIB })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  });
});

/** A base with contents, and a child of a child of it that differs. */
async function chain(folder: TemporaryFolder): Promise<{ base: string; leaf: string; contents: Buffer }> {
  const raw = folder.file('chain.raw');
  const contents = sparseContents(SIZE_BYTES, 11);
  writeFileSync(raw, contents);
  const base = folder.file('base.vhdx');
  await convertVhd(raw, base, { blockSizeBytes: MIB });
  let parentPath = base;
  for (const [index, name] of ['middle.vhdx', 'leaf.vhdx'].entries()) {
    const path = folder.file(name);
    await createVhd(path, { parentPath });
    await using disk = await openVhd(path);
    const bytes = Buffer.alloc(70_000, 100 + index);
    for (const at of [512 * 3, 5 * MIB - 1024, 17 * MIB + 512]) {
      disk.write(at + index * 4096, bytes, 0, bytes.length);
      contents.set(bytes, at + index * 4096);
    }
    disk.writeZeroes(8 * MIB, 2 * MIB, true);
    contents.fill(0, 8 * MIB, 10 * MIB);
    await disk.close();
    parentPath = path;
  }
  return { base, leaf: parentPath, contents };
}

describe('chains', () => {
  test('are flattened', async () => {
    using folder = new TemporaryFolder();
    const { leaf, contents } = await chain(folder);
    for (const { name, options } of SECOND) {
      await convertVhd(leaf, folder.file(name), options);
      expect(contents.equals(await contentsOf(folder.file(name)))).toBe(true);
    }
  });

  needsQemu("are flattened into other programs' formats", async () => {
    using folder = new TemporaryFolder();
    const { leaf, contents } = await chain(folder);
    const flat = folder.file('flat.raw');
    writeFileSync(flat, contents);
    for (const { name } of FOREIGN) {
      const path = folder.file(name);
      const { format, copiedBytes } = await convertVhd(leaf, path);
      expect(copiedBytes).toBeLessThan(SIZE_BYTES);
      qemuCheck(path, format);
      expect(qemuSaysEqual(flat, path)).toBe(true);
    }
  });

  test('a differencing copy holds only what its parent has not, and reads as the source', async () => {
    using folder = new TemporaryFolder();
    const { base, leaf, contents } = await chain(folder);
    const flat = folder.file('flat.raw');
    await convertVhd(leaf, flat);
    for (const source of [leaf, flat]) {
      const child = folder.file(source === leaf ? 'a.vhdx' : 'b.vhdx');
      const result = await convertVhd(source, child, { type: 'differencing', parentPath: base });
      expect(result.type).toBe('differencing');
      expect(result.copiedBytes).toBeLessThan(MIB);
      expect(await vhdInfo(child)).toMatchObject({ type: 'differencing', parentPath: base, parentFound: true });
      expect(await checkVhd(child)).toMatchObject({ isSound: true, findings: [] });
      expect(contents.equals(await contentsOf(child))).toBe(true);
      expect(await compareVhds(child, leaf)).toMatchObject({ equal: true });
    }
    expect(statSync(folder.file('a.vhdx')).size).toBeLessThan(20 * MIB);
    await mergeIntoParent(folder.file('b.vhdx'));
    expect(contents.equals(await contentsOf(base))).toBe(true);
  });

  test('a differencing copy of what equals its parent holds nothing', async () => {
    using folder = new TemporaryFolder();
    const { base, leaf } = await chain(folder);
    const twin = folder.file('twin.raw');
    await convertVhd(base, twin);
    const child = folder.file('child.vhdx');
    const { copiedBytes } = await convertVhd(twin, child, { parentPath: base });
    expect(copiedBytes).toBe(0);
    expect(statSync(child).size).toBe(4 * MIB);
    // A disk made on the same parent shares its bytes by place: nothing of them is even read.
    expect((await compareVhds(leaf, base)).comparedBytes).toBeLessThan(9 * MIB);
  });

  test('a differencing copy that does not fit its parent is refused', async () => {
    using folder = new TemporaryFolder();
    const { base, leaf } = await chain(folder);
    const small = folder.file('small.raw');
    writeFileSync(small, Buffer.alloc(4 * MIB, 1));
    const make = (source: string, name: string, options: object): Promise<unknown> =>
      convertVhd(source, folder.file(name), { type: 'differencing', parentPath: base, ...options });
    await expect(make(small, 'x.vhdx', {})).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(make(leaf, 'x.raw', {})).rejects.toMatchObject({ code: 'unsupported' });
    await expect(make(leaf, 'x.vhdx', { virtualDiskId: 'keep' })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(make(leaf, 'x.vhdx', { logicalSectorSizeBytes: 4096 })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await expect(make(leaf, 'x.vhdx', { parentPath: undefined })).rejects.toMatchObject({ code: 'invalid-argument' });
    expect(filesIn(folder.path).filter((name) => name.startsWith('x') || name.startsWith('.'))).toEqual([]);
  });
});

describe('creating a disk from a source', () => {
  test('copies it, and a differencing one starts with what differs', async () => {
    using folder = new TemporaryFolder();
    const { base, leaf, contents } = await chain(folder);
    const copy = folder.file('copy.vhdx');
    const info = await createVhd(copy, { sourcePath: leaf, type: 'fixed', sizeBytes: 32 * MIB });
    expect(info).toMatchObject({ type: 'fixed', virtualSizeBytes: 32 * MIB });
    expect(await compareVhds(copy, leaf)).toMatchObject({ equal: true });
    const child = folder.file('child.vhdx');
    expect(await createVhd(child, { sourcePath: leaf, parentPath: base })).toMatchObject({ type: 'differencing' });
    expect(contents.equals(await contentsOf(child))).toBe(true);
    const planned = await createVhd(folder.file('no.vhdx'), { sourcePath: leaf, dryRun: true });
    expect(planned).toMatchObject({ type: 'dynamic', virtualSizeBytes: SIZE_BYTES, fileSizeBytes: 0 });
    expect(filesIn(folder.path)).not.toContain('no.vhdx');
  });
});
