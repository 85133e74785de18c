import { execFileSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createVhd, mergeIntoParent, openChain, openVhd, setParent, vhdInfo } from './index.ts';

const MIB = 1024 * 1024;
const SECTOR = new Uint8Array(512);

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-disk-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

async function fillSector(path: string, sector: number, value: number): Promise<void> {
  const disk = openChain(path);
  disk.write(sector * 512, SECTOR.slice().fill(value), 0, 512);
  await disk.close();
}

async function sectorOf(path: string, sector: number, allowParents: readonly string[] = []): Promise<number> {
  const disk = openChain(path, { readOnly: true, allowParents });
  const bytes = new Uint8Array(512);
  disk.read(sector * 512, bytes, 0, 512);
  await disk.close();
  return bytes.every((byte) => byte === bytes[0]) ? (bytes[0] ?? -1) : -1;
}

describe('createVhd', () => {
  test('names no file twice, and leaves nothing behind when it fails', async () => {
    await createVhd(at('a.vhdx'), { sizeBytes: 64 * MIB });
    await expect(createVhd(at('a.vhdx'), { sizeBytes: 64 * MIB })).rejects.toMatchObject({ code: 'already-exists' });
    symlinkSync(at('nowhere'), at('link.vhdx'));
    await expect(createVhd(at('link.vhdx'), { sizeBytes: 64 * MIB })).rejects.toMatchObject({ code: 'already-exists' });
    await expect(createVhd(at('b.vhdx'), { sizeBytes: 0 })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(createVhd(at('b.vhdx'), { sizeBytes: 2 ** 62, type: 'fixed' })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await expect(createVhd(at('no/b.vhdx'), { sizeBytes: 64 * MIB })).rejects.toMatchObject({ code: 'not-found' });
    await expect(createVhd(at('b.vhd'), { sizeBytes: 2041 * 2 ** 30 })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await expect(createVhd(at('b'), { sizeBytes: 64 * MIB })).rejects.toMatchObject({ code: 'unsupported' });
    await expect(createVhd(at('b.vhdx'), { parentPath: at('gone.vhdx') })).rejects.toMatchObject({ code: 'not-found' });
    await expect(createVhd(at('b.vhdx'), { sizeBytes: 64 * MIB, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    });
    expect(readdirSync(folder).sort()).toEqual(['a.vhdx', 'link.vhdx']);
  });

  test('a new disk has the id that it is given, where it can have one of its own', async () => {
    const virtualDiskId = '5344a6ca-b8f3-4596-9001-86b58b1364db';
    const made = await createVhd(at('a.vhdx'), {
      sizeBytes: 64 * MIB,
      virtualDiskId: `{${virtualDiskId.toUpperCase()}}`,
    });
    expect(made.identifier).toBe(virtualDiskId);
    for (const [name, options] of [
      ['b.vhdx', { sizeBytes: 64 * MIB, virtualDiskId: 'mine' }],
      ['b.img', { sizeBytes: 64 * MIB, virtualDiskId }],
      ['b.vhdx', { parentPath: at('a.vhdx'), virtualDiskId }],
    ] as const) {
      await expect(createVhd(at(name), options)).rejects.toMatchObject({ code: 'invalid-argument' });
    }
    expect(readdirSync(folder)).toEqual(['a.vhdx']);
  });

  test('a fixed disk that does not fit takes nothing', async () => {
    const tooMuch = 63 * 2 ** 40;
    await expect(createVhd(at('big.vhdx'), { sizeBytes: tooMuch, type: 'fixed' })).rejects.toMatchObject({
      code: 'no-space',
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a fixed disk that cannot fit is refused before anything is made, also in a dry run', async () => {
    for (const format of ['vhdx', 'raw'] as const) {
      for (const dryRun of [true, false]) {
        const work = createVhd(at('a.vhdx'), { type: 'fixed', sizeBytes: 64 * 2 ** 40, format, dryRun });
        await expect(work).rejects.toMatchObject({ code: 'no-space', detail: { neededBytes: 64 * 2 ** 40 } });
      }
    }
    expect(readdirSync(folder)).toEqual([]);
  });

  test('a dry run says what would be made and makes nothing', async () => {
    const info = await createVhd(at('a.vhdx'), { sizeBytes: 64 * MIB, dryRun: true });
    expect(info).toMatchObject({
      path: at('a.vhdx'),
      type: 'dynamic',
      virtualSizeBytes: 64 * MIB,
      blockSizeBytes: 32 * MIB,
    });
    await expect(createVhd(at('a.vhdx'), { sizeBytes: 1, dryRun: true })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    expect(readdirSync(folder)).toEqual([]);
  });

  test('vhdInfo tells what was asked for', async () => {
    const parent = await createVhd(at('p.vhdx'), {
      sizeBytes: 64 * MIB,
      logicalSectorSizeBytes: 4096,
      physicalSectorSizeBytes: 4096,
    });
    const child = await createVhd(at('Kind \'1" 日本.vhdx'), { parentPath: at('p.vhdx') });
    expect(child).toMatchObject({
      format: 'vhdx',
      type: 'differencing',
      virtualSizeBytes: 64 * MIB,
      blockSizeBytes: 2 * MIB,
      logicalSectorSizeBytes: 4096,
      identifier: parent.identifier,
      parentPath: at('p.vhdx'),
      parentFound: true,
    });
    expect(JSON.parse(JSON.stringify(child))).toEqual(child);
  });
});

describe('openVhd', () => {
  test('one writer, or any number of readers; the disk in use can still be looked at', async () => {
    await createVhd(at('a.vhdx'), { sizeBytes: 64 * MIB });
    const writer = await openVhd(at('a.vhdx'));
    await expect(openVhd(at('a.vhdx'))).rejects.toMatchObject({ code: 'in-use' });
    await expect(openVhd(at('a.vhdx'), { readOnly: true })).rejects.toMatchObject({ code: 'in-use' });
    expect(await vhdInfo(at('a.vhdx'))).toMatchObject({ inUse: true, virtualSizeBytes: 64 * MIB });
    await writer.close();
    const readers = [await openVhd(at('a.vhdx'), { readOnly: true }), await openVhd(at('a.vhdx'), { readOnly: true })];
    await expect(openVhd(at('a.vhdx'))).rejects.toMatchObject({ code: 'in-use' });
    for (const reader of readers) await reader.close();
    expect(await vhdInfo(at('a.vhdx'))).toMatchObject({ inUse: false });
  });

  test('what is no disk is refused with its reason, without waiting', async () => {
    writeFileSync(at('text.vhdx'), 'not a disk');
    writeFileSync(at('empty.vhdx'), '');
    mkdirSync(at('folder.vhdx'));
    execFileSync('mkfifo', [at('pipe.vhdx')]);
    await expect(openVhd(at('text.vhdx'))).rejects.toMatchObject({
      code: 'corrupt',
      detail: { reason: 'file-signature' },
    });
    await expect(openVhd(at('empty.vhdx'))).rejects.toMatchObject({ code: 'corrupt' });
    await expect(openVhd(at('folder.vhdx'))).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(openVhd(at('pipe.vhdx'), { readOnly: true })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(openVhd('/dev/zero', { format: 'vhdx', readOnly: true })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    await expect(openVhd(at('gone.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
    writeFileSync(at('text.vhd'), 'not a disk');
    await expect(openVhd(at('text.vhd'))).rejects.toMatchObject({ code: 'corrupt', detail: { reason: 'no-footer' } });
  });

  test('a raw file is one when it is called that', async () => {
    await createVhd(at('a.raw'), { sizeBytes: MIB });
    const disk = await openVhd(at('a.raw'));
    disk.write(4096, SECTOR.slice().fill(7), 0, 512);
    disk.trim(0, 4096);
    await disk.flush();
    expect([...disk.extents(0, MIB)].map(({ kind }) => kind)).toEqual(['hole', 'data', 'hole']);
    expect(disk.resolveRead(4096, 512)).toMatchObject([{ length: 512, fileOffset: 4096 }]);
    expect(() => disk.write(MIB, SECTOR, 0, 512)).toThrow(/outside/);
    await disk.close();
  });

  test('resolveRead says where the bytes lie, through a chain', async () => {
    await createVhd(at('p.vhdx'), { sizeBytes: 64 * MIB });
    await fillSector(at('p.vhdx'), 0, 1);
    await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
    await fillSector(at('c.vhdx'), 1, 2);
    const disk = openChain(at('c.vhdx'), { readOnly: true });
    const ranges = disk.resolveRead(0, 32 * MIB + 512);
    expect(ranges.map(({ length, fd }) => [length, fd === undefined])).toEqual([
      [512, false],
      [512, false],
      [32 * MIB - 1024, false],
      [512, true],
    ]);
    await disk.close();
  });
});

describe('parents', () => {
  async function makePair(): Promise<void> {
    mkdirSync(at('base'));
    mkdirSync(at('vm'));
    await createVhd(at('base/p.vhdx'), { sizeBytes: 64 * MIB });
    await fillSector(at('base/p.vhdx'), 3, 9);
    await createVhd(at('vm/c.vhdx'), { parentPath: at('base/p.vhdx') });
  }

  test("lie in the child's folder, or where they are allowed", async () => {
    await makePair();
    await expect(sectorOf(at('vm/c.vhdx'), 3)).rejects.toMatchObject({ code: 'permission-denied' });
    await expect(sectorOf(at('vm/c.vhdx'), 3, [at('bas')])).rejects.toMatchObject({ code: 'permission-denied' });
    expect(await sectorOf(at('vm/c.vhdx'), 3, [at('base')])).toBe(9);
    expect(await sectorOf(at('vm/c.vhdx'), 3, [at('base/p.vhdx')])).toBe(9);
    symlinkSync(at('base'), at('other name'));
    expect(await sectorOf(at('vm/c.vhdx'), 3, [at('other name')])).toBe(9);
    expect(await vhdInfo(at('vm/c.vhdx'))).toMatchObject({ parentPath: at('base/p.vhdx'), parentFound: false });
  });

  test("a link in the child's folder does not lead out of it", async () => {
    await makePair();
    renameSync(at('base/p.vhdx'), at('elsewhere.vhdx'));
    symlinkSync(at('elsewhere.vhdx'), at('vm/p.vhdx'));
    await setParent(at('vm/c.vhdx'), at('elsewhere.vhdx'));
    await expect(sectorOf(at('vm/c.vhdx'), 3)).rejects.toMatchObject({ code: 'permission-denied' });
  });

  test('move along with the child', async () => {
    await createVhd(at('p.vhdx'), { sizeBytes: 64 * MIB });
    await fillSector(at('p.vhdx'), 3, 9);
    await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
    mkdirSync(at('moved'));
    renameSync(at('p.vhdx'), at('moved/p.vhdx'));
    renameSync(at('c.vhdx'), at('moved/c.vhdx'));
    expect(await sectorOf(at('moved/c.vhdx'), 3)).toBe(9);
    rmSync(at('moved/p.vhdx'));
    await expect(sectorOf(at('moved/c.vhdx'), 3)).rejects.toMatchObject({ code: 'not-found' });
    expect(await vhdInfo(at('moved/c.vhdx'))).toMatchObject({ parentPath: at('p.vhdx'), parentFound: false });
  });

  test('are refused where the chain would be too deep to open', async () => {
    await createVhd(at('1.vhdx'), { sizeBytes: 64 * MIB });
    for (let depth = 2; depth <= 64; depth += 1) {
      await createVhd(at(`${depth}.vhdx`), { parentPath: at(`${depth - 1}.vhdx`) });
    }
    expect(await sectorOf(at('64.vhdx'), 3)).toBe(0);
    for (const dryRun of [true, false]) {
      await expect(createVhd(at('65.vhdx'), { parentPath: at('64.vhdx'), dryRun })).rejects.toMatchObject({
        code: 'unsupported',
      });
    }
    expect(existsSync(at('65.vhdx'))).toBe(false);
  });

  test('that were written to after the child was made are told by both names', async () => {
    await createVhd(at('p.vhdx'), { sizeBytes: 64 * MIB });
    await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
    await fillSector(at('p.vhdx'), 3, 9);
    await expect(sectorOf(at('c.vhdx'), 3)).rejects.toMatchObject({
      code: 'parent-changed',
      detail: { path: at('c.vhdx'), parentPath: at('p.vhdx') },
    });
    await expect(setParent(at('c.vhdx'), at('p.vhdx'))).rejects.toMatchObject({ code: 'parent-changed' });
    await setParent(at('c.vhdx'), at('p.vhdx'), { ignoreMismatch: true });
    expect(await sectorOf(at('c.vhdx'), 3)).toBe(9);
  });

  test('that are no VHDX, or the child itself, are refused', async () => {
    await createVhd(at('p.vhdx'), { sizeBytes: 64 * MIB });
    await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx') });
    await expect(setParent(at('c.vhdx'), at('c.vhdx'))).rejects.toMatchObject({ code: 'invalid-argument' });
    writeFileSync(at('p.vhdx'), new Uint8Array(MIB));
    await expect(sectorOf(at('c.vhdx'), 0)).rejects.toMatchObject({ code: 'unsupported' });
    rmSync(at('p.vhdx'));
    copyFileSync(at('c.vhdx'), at('p.vhdx'));
    await expect(sectorOf(at('c.vhdx'), 0)).rejects.toMatchObject({
      code: 'corrupt',
      detail: { reason: 'chain-cycle' },
    });
    rmSync(at('p.vhdx'));
    execFileSync('mkfifo', [at('p.vhdx')]);
    await expect(sectorOf(at('c.vhdx'), 0)).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  test('are at most 63 deep', async () => {
    await createVhd(at('0.vhdx'), { sizeBytes: 64 * MIB });
    await fillSector(at('0.vhdx'), 3, 9);
    for (let index = 1; index < 64; index++)
      await createVhd(at(`${index}.vhdx`), { parentPath: at(`${index - 1}.vhdx`) });
    expect(await sectorOf(at('63.vhdx'), 3)).toBe(9);
    copyFileSync(at('63.vhdx'), at('64.vhdx'));
    await expect(setParent(at('64.vhdx'), at('63.vhdx'))).rejects.toMatchObject({ code: 'unsupported' });
    copyFileSync(at('1.vhdx'), at('alone.vhdx'));
    await setParent(at('alone.vhdx'), at('0.vhdx'));
    await setParent(at('1.vhdx'), at('alone.vhdx'), { ignoreMismatch: true });
    await expect(sectorOf(at('63.vhdx'), 3)).rejects.toMatchObject({ code: 'unsupported' });
    await setParent(at('1.vhdx'), at('0.vhdx'), { ignoreMismatch: true });
    const deep = openChain(at('63.vhdx'));
    expect(() => deep.prepareChild(at('65.vhdx'))).toThrow(/deep/);
    await deep.close();
  });
});

describe('a child made under a running disk', () => {
  test('takes over all writes once it is committed, and the old leaf is closed in order', async () => {
    await createVhd(at('a.vhdx'), { sizeBytes: 64 * MIB });
    const disk = openChain(at('a.vhdx'));
    const bytes = SECTOR.slice();
    const write = (sector: number, value: number): void => disk.write(sector * 512, bytes.fill(value), 0, 512);
    write(0, 1);
    disk.prepareChild(at('a-1.avhdx'));
    write(1, 2);
    const committing = disk.commitChild();
    write(2, 3);
    await committing;
    write(1, 4);
    write(70_000, 5);
    expect(disk.layers.map(({ path, readOnly }) => [path, readOnly])).toEqual([
      [at('a-1.avhdx'), false],
      [at('a.vhdx'), true],
    ]);
    await disk.close();
    expect(await sectorOf(at('a.vhdx'), 1)).toBe(2);
    expect(await sectorOf(at('a.vhdx'), 2)).toBe(3);
    for (const [sector, value] of [
      [0, 1],
      [1, 4],
      [2, 3],
      [70_000, 5],
    ] as const) {
      expect(await sectorOf(at('a-1.avhdx'), sector)).toBe(value);
    }
    await mergeIntoParent(at('a-1.avhdx'));
    expect(await sectorOf(at('a.vhdx'), 1)).toBe(4);
    expect(await sectorOf(at('a-1.avhdx'), 0)).toBe(1);
  });

  test('is gone when it is abandoned or the disk is closed without it', async () => {
    await createVhd(at('a.vhdx'), { sizeBytes: 64 * MIB });
    const disk = openChain(at('a.vhdx'));
    disk.prepareChild(at('b.avhdx'));
    expect(() => disk.prepareChild(at('c.avhdx'))).toThrow(/already/);
    await disk.abandonChild();
    expect(existsSync(at('b.avhdx'))).toBe(false);
    await expect(disk.commitChild()).rejects.toMatchObject({ code: 'invalid-state' });
    disk.prepareChild(at('c.avhdx'));
    await disk.close();
    expect(readdirSync(folder)).toEqual(['a.vhdx']);
  });

  test('an aborted merge can be run again', async () => {
    await createVhd(at('a.vhdx'), { sizeBytes: 64 * MIB });
    await createVhd(at('b.vhdx'), { parentPath: at('a.vhdx') });
    const disk = openChain(at('b.vhdx'));
    disk.write(0, new Uint8Array(20 * MIB).fill(6), 0, 20 * MIB);
    await disk.close();
    const abort = new AbortController();
    const merging = mergeIntoParent(at('b.vhdx'), {
      signal: abort.signal,
      onProgress: ({ done }) => done > 0 && abort.abort(),
    });
    await expect(merging).rejects.toMatchObject({ code: 'aborted' });
    expect(await sectorOf(at('b.vhdx'), 39_999)).toBe(6);
    await mergeIntoParent(at('b.vhdx'));
    expect(await sectorOf(at('a.vhdx'), 39_999)).toBe(6);
    expect((await openVhd(at('b.vhdx'), { readOnly: true }).then(async (opened) => opened.close())) === undefined).toBe(
      true,
    );
  });
});
