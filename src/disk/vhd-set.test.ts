import {
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
import { randomGuid } from '../binary/index.ts';
import { createVhdSetContainer, readVhdSet, type VhdSetState, writeVhdSet } from '../formats/vhdset/index.ts';
import { createFile } from './create-file.ts';
import {
  applyVhdSetSnapshot,
  backupDisk,
  changeTrackingState,
  compareVhds,
  createVhd,
  createVhdSet,
  deleteVhdSetSnapshot,
  disableChangeTracking,
  diskDependencies,
  enableChangeTracking,
  FileDisks,
  modifyVhdSet,
  openVhd,
  optimizeVhdSet,
  queryChanges,
  takeReferencePoint,
  takeVhdSetSnapshot,
  vhdInfo,
  vhdSetInfo,
} from './index.ts';
import { openImageFile } from './open-file.ts';

const MIB = 1024 * 1024;
const [S1, S2, S3] = [randomGuid(), randomGuid(), randomGuid()];

let folder = '';
let set = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-set-'));
  set = at('disk.vhds');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);
const files = (): string[] => readdirSync(folder).filter((name) => name !== 'disk.vhds');

async function fill(sector: number, value: number, path = set): Promise<void> {
  const disk = await openVhd(path);
  disk.write(sector * 512, new Uint8Array(512).fill(value), 0, 512);
  await disk.close();
}

async function sectors(count = 4, path = set): Promise<number[]> {
  const disk = await openVhd(path, { readOnly: true });
  const bytes = new Uint8Array(count * 512);
  disk.read(0, bytes, 0, bytes.length);
  await disk.close();
  return Array.from({ length: count }, (_, sector) => bytes[sector * 512] ?? -1);
}

/** Changes a container as nobody but a foe would. */
function forge(path: string, change: (state: VhdSetState) => VhdSetState): void {
  const { store } = openImageFile(path, { access: 'write' });
  const before = readVhdSet(store);
  writeVhdSet(store, before, change(before.state));
  store.close();
}

describe('a VHD Set', () => {
  test('is a container with a disk beside it, and opens as that disk', async () => {
    const info = await createVhdSet(set, { sizeBytes: 8 * MIB });
    expect(info).toMatchObject({
      path: set,
      currentSnapshotId: null,
      defaultPath: folder,
      snapshots: [],
      unneededPaths: [],
    });
    expect(info.allPaths).toEqual([info.leafPath]);
    expect(info.leafPath).toMatch(/\/disk_[0-9a-f-]{36}\.avhdx$/);
    await fill(0, 7);
    expect(await sectors(2)).toEqual([7, 0]);
    expect(await sectors(2, info.leafPath)).toEqual([7, 0]);
    expect(await vhdInfo(set)).toMatchObject({ path: set, format: 'vhds', type: 'dynamic', virtualSizeBytes: 8 * MIB });
    expect(await vhdSetInfo(set)).toEqual(info);
    await expect(createVhdSet(set, { sizeBytes: 8 * MIB })).rejects.toMatchObject({ code: 'already-exists' });
    expect(files().length).toBe(1);
  });

  test('is made over a disk that exists, in its place, and over nothing else', async () => {
    await createVhd(at('base.vhdx'), { sizeBytes: 8 * MIB });
    await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
    await createVhd(at('old.vhd'), { sizeBytes: 8 * MIB });
    for (const [fromPath, code] of [
      ['child.vhdx', 'unsupported'],
      ['old.vhd', 'unsupported'],
      ['gone.vhdx', 'not-found'],
    ] as const) {
      await expect(createVhdSet(set, { fromPath: at(fromPath) })).rejects.toMatchObject({ code });
    }
    await expect(createVhdSet(set, {})).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(createVhdSet(at('x.vhdx'), { sizeBytes: MIB })).rejects.toMatchObject({ code: 'invalid-argument' });
    mkdirSync(at('in'));
    await expect(createVhdSet(at('in/a.vhds'), { fromPath: at('base.vhdx') })).rejects.toMatchObject({
      code: 'permission-denied',
    });
    expect(readdirSync(at('in'))).toEqual([]);
    const { leafPath } = await createVhdSet(set, { fromPath: at('base.vhdx') });
    expect(leafPath).toBe(at('base.vhdx'));
  });

  test('takes snapshots, and goes back to each', async () => {
    await createVhdSet(set, { sizeBytes: 8 * MIB });
    await fill(0, 1);
    await takeVhdSetSnapshot(set, { snapshotId: S1, rctId: 'rctX:1' });
    await fill(1, 2);
    await takeVhdSetSnapshot(set, { snapshotId: S2 });
    await fill(2, 3);
    expect(await sectors()).toEqual([1, 2, 3, 0]);
    const info = await vhdSetInfo(set);
    expect(info.snapshots.map(({ id, parentSnapshotId, rctId }) => [id, parentSnapshotId, rctId])).toEqual([
      [S1, null, 'rctX:1'],
      [S2, S1, null],
    ]);
    expect(info.snapshots[1]?.parentPaths).toEqual([info.snapshots[0]?.path]);
    expect(info.currentSnapshotId).toBe(S2);
    await expect(takeVhdSetSnapshot(set, { snapshotId: S1 })).rejects.toMatchObject({ code: 'already-exists' });
    await expect(takeVhdSetSnapshot(set, { snapshotId: 'x' })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(applyVhdSetSnapshot(set, S3)).rejects.toMatchObject({ code: 'not-found' });

    await applyVhdSetSnapshot(set, S1, { leafSnapshotId: S3 });
    expect(await sectors()).toEqual([1, 0, 0, 0]);
    await fill(3, 9);
    expect((await applyVhdSetSnapshot(set, S3)).currentSnapshotId).toBe(S3);
    expect(await sectors()).toEqual([1, 2, 3, 0]);
    await applyVhdSetSnapshot(set, S2);
    expect(await sectors()).toEqual([1, 2, 0, 0]);
    expect(files().length).toBe(4);
  });

  test('makes a kept disk its own again, to write on in its file', async () => {
    await createVhdSet(set, { sizeBytes: 8 * MIB });
    await takeVhdSetSnapshot(set, { snapshotId: S1 });
    await fill(0, 5);
    const { leafPath } = await applyVhdSetSnapshot(set, S1, { leafSnapshotId: S2 });
    await fill(0, 6);
    await expect(applyVhdSetSnapshot(set, S1, { isWriteable: true })).rejects.toMatchObject({ code: 'invalid-state' });
    const back = await applyVhdSetSnapshot(set, S2, { isWriteable: true });
    expect(await sectors(1)).toEqual([5]);
    expect(back.snapshots.map(({ id }) => id)).toEqual([S1]);
    expect(back.currentSnapshotId).toBe(S1);
    expect(existsSync(leafPath)).toBe(false);

    const taken = await takeVhdSetSnapshot(set, { snapshotId: S3, isWriteable: true });
    await fill(0, 8);
    expect(await sectors(1, taken.snapshots[1]?.path ?? '')).toEqual([5]);
    await applyVhdSetSnapshot(set, S3, { isWriteable: true });
    expect(await sectors(1)).toEqual([5]);
  });

  test('forgets snapshots, keeps what others stand on until it is optimized, and what change tracking needs', async () => {
    await createVhdSet(set, { sizeBytes: 8 * MIB });
    for (const [value, id] of [S1, S2, S3].entries()) {
      await fill(value, value + 1);
      await takeVhdSetSnapshot(set, { snapshotId: id });
    }
    await fill(3, 4);
    const before = await vhdSetInfo(set);
    const deleted = await deleteVhdSetSnapshot(set, S2);
    expect(deleted.snapshots.map(({ id, parentSnapshotId }) => [id, parentSnapshotId])).toEqual([
      [S1, null],
      [S3, S1],
    ]);
    expect(deleted.unneededPaths).toEqual([before.snapshots[1]?.path]);
    const reference = await deleteVhdSetSnapshot(set, S1, { persistRct: true });
    expect(reference.snapshots[0]).toMatchObject({ id: S1, path: null, parentPaths: [] });
    await expect(applyVhdSetSnapshot(set, S1)).rejects.toMatchObject({ code: 'invalid-state' });
    expect(files().length).toBe(4);
    const optimized = await optimizeVhdSet(set);
    expect(optimized.unneededPaths).toEqual([]);
    expect(files().length).toBe(2);
    expect(await sectors()).toEqual([1, 2, 3, 4]);
    await applyVhdSetSnapshot(set, S3);
    expect(await sectors()).toEqual([1, 2, 3, 0]);
    await deleteVhdSetSnapshot(set, S3);
    await optimizeVhdSet(set);
    expect(files().length).toBe(1);
    expect(await sectors()).toEqual([1, 2, 3, 0]);
  });

  test('is told where its files are, and where new ones go', async () => {
    await createVhdSet(set, { sizeBytes: 8 * MIB });
    await fill(0, 1);
    const { leafPath } = await takeVhdSetSnapshot(set, { snapshotId: S1 });
    const snapshotPath = (await vhdSetInfo(set)).snapshots[0]?.path ?? '';
    mkdirSync(at('snapshots'));
    renameSync(snapshotPath, at('snapshots/moved.vhdx'));
    await expect(sectors()).rejects.toMatchObject({ code: 'not-found' });
    const move = { kind: 'snapshot-path', snapshotId: S1, path: at('snapshots/moved.vhdx') } as const;
    await createVhd(at('other.vhdx'), { sizeBytes: 8 * MIB });
    await expect(modifyVhdSet(set, { ...move, path: at('other.vhdx') })).rejects.toMatchObject({
      code: 'parent-changed',
    });
    await modifyVhdSet(set, move);
    expect(await sectors(1)).toEqual([1]);

    await modifyVhdSet(set, { kind: 'default-path', path: at('snapshots') });
    const moved = await takeVhdSetSnapshot(set, { snapshotId: S2 });
    expect(moved.leafPath).toMatch(/\/snapshots\/disk_/);
    await fill(1, 2);
    expect(await sectors(2)).toEqual([1, 2]);
    await expect(modifyVhdSet(set, { kind: 'default-path', path: leafPath })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
    const removed = await modifyVhdSet(set, { kind: 'remove-snapshot', snapshotId: S2 });
    expect(removed.snapshots.map(({ id }) => id)).toEqual([S1]);
    expect(await sectors(2)).toEqual([1, 2]);
  });
});

describe('a VHD Set is left as it is', () => {
  test('while its disk is in use, or other disks stand on it', async () => {
    const { leafPath } = await createVhdSet(set, { sizeBytes: 8 * MIB });
    await takeVhdSetSnapshot(set, { snapshotId: S1 });
    const before = files();
    const disk = await openVhd(set);
    for (const change of [
      () => takeVhdSetSnapshot(set),
      () => applyVhdSetSnapshot(set, S1),
      () => applyVhdSetSnapshot(set, S1, { leafSnapshotId: S2 }),
    ]) {
      await expect(change()).rejects.toMatchObject({ code: 'in-use' });
    }
    expect((await vhdSetInfo(set)).snapshots.length).toBe(1);
    await disk.close();
    expect(files()).toEqual(before);
    await createVhd(at('mine.vhdx'), { parentPath: (await vhdSetInfo(set)).leafPath });
    await expect(applyVhdSetSnapshot(set, S1)).rejects.toMatchObject({ code: 'in-use' });
    rmSync(at('mine.vhdx'));
    await createVhd(at('mine.vhdx'), { parentPath: leafPath });
    await deleteVhdSetSnapshot(set, S1);
    await expect(optimizeVhdSet(set)).rejects.toMatchObject({ code: 'in-use' });
  });

  test('by what its container names outside of its folder', async () => {
    await createVhdSet(set, { sizeBytes: 8 * MIB });
    await takeVhdSetSnapshot(set, { snapshotId: S1 });
    const { leafPath, virtualDiskId } = await vhdSetInfo(set);
    const name = leafPath.slice(folder.length + 1);
    const withLeaf = (path: string): void => {
      forge(set, (state) => ({
        ...state,
        files: state.files.map((file) => (file.id === state.leafId ? { ...file, path } : file)),
      }));
    };
    for (const path of ['/etc/shadow', '../../etc/shadow', '../..']) {
      withLeaf(path);
      await expect(openVhd(set)).rejects.toMatchObject({ code: 'permission-denied' });
      await expect(vhdSetInfo(set)).rejects.toMatchObject({ code: 'permission-denied' });
      await expect(takeVhdSetSnapshot(set)).rejects.toMatchObject({ code: 'permission-denied' });
    }
    symlinkSync('/etc/shadow', at('link.avhdx'));
    withLeaf('link.avhdx');
    await expect(openVhd(set)).rejects.toMatchObject({ code: 'permission-denied' });
    withLeaf(name);
    expect(await sectors(1)).toEqual([0]);

    await createVhd(at('stranger.vhdx'), { sizeBytes: 8 * MIB });
    writeFileSync(at('text.avhdx'), 'text');
    forge(set, (state) => ({ ...state, leftovers: ['stranger.vhdx', 'text.avhdx'] }));
    await takeVhdSetSnapshot(set);
    expect(existsSync(at('stranger.vhdx')) && existsSync(at('text.avhdx'))).toBe(true);
    forge(set, (state) => ({ ...state, leftovers: ['/etc/hostname'] }));
    await expect(takeVhdSetSnapshot(set)).rejects.toMatchObject({ code: 'permission-denied' });
    expect(existsSync('/etc/hostname')).toBe(true);
    expect(virtualDiskId).not.toBe((await vhdInfo(at('stranger.vhdx'))).identifier);
  });

  test('when Hyper-V made it', async () => {
    writeFileSync(set, new Uint8Array(260 * 1024));
    for (const look of [vhdSetInfo, openVhd, vhdInfo, takeVhdSetSnapshot]) {
      await expect(look(set)).rejects.toMatchObject({ code: 'unsupported', hint: expect.stringContaining('.avhdx') });
    }
    rmSync(set);
    const id = randomGuid();
    const file = createFile(set, (store) => {
      const lone = { id, path: 'gone.avhdx', parentId: null };
      createVhdSetContainer(store, id, {
        virtualDiskId: id,
        leafId: id,
        currentSnapshotId: null,
        defaultPath: null,
        files: [lone],
        snapshots: [],
        leftovers: [],
        merging: null,
      });
    });
    file.store.close();
    await expect(openVhd(set)).rejects.toMatchObject({ code: 'not-found' });
  });
});

describe('a VHD Set, where a disk is meant', () => {
  const differs = (ranges: readonly { readonly offsetBytes: number }[]) => ranges.map(({ offsetBytes }) => offsetBytes);

  test('is tracked, asked for its changes and backed up, over its snapshots and their end', async () => {
    await createVhdSet(set, { sizeBytes: 64 * MIB, blockSizeBytes: MIB });
    expect(await changeTrackingState(set)).toMatchObject({ enabled: false });
    const since = (await enableChangeTracking(set)).mostRecentId ?? '';
    await fill(0, 1);
    expect(differs((await queryChanges(set, since)).ranges)).toEqual([0]);
    const copy = at('copy.raw');
    const first = (await backupDisk(set, copy)).changeTrackingId ?? '';
    await takeVhdSetSnapshot(set, { snapshotId: S1 });
    expect(await changeTrackingState(set)).toMatchObject({ enabled: true });
    await fill(4096, 2);
    expect(differs((await queryChanges(set, first)).ranges)).toEqual([2 * MIB]);
    const second = await backupDisk(set, copy, { sinceId: first });
    expect(second.kind).toBe('incremental');
    await takeVhdSetSnapshot(set, { snapshotId: S2 });
    await fill(8192, 3);
    // Merged into one file; the ids of all go on.
    await deleteVhdSetSnapshot(set, S1);
    await deleteVhdSetSnapshot(set, S2);
    await optimizeVhdSet(set);
    expect(await sectors()).toEqual([1, 0, 0, 0]);
    expect(differs((await queryChanges(set, second.changeTrackingId ?? '')).ranges)).toEqual([4 * MIB]);
    await backupDisk(set, copy, { sinceId: second.changeTrackingId ?? '' });
    expect((await compareVhds(set, copy)).equal).toBe(true);
    expect(await takeReferencePoint(set)).toMatch(/^rctX:/);
    expect(await disableChangeTracking(set)).toMatchObject({ enabled: false });
  });

  test('tells on what its disk stands, and has it resized', async () => {
    await createVhdSet(set, { sizeBytes: 64 * MIB });
    const { leafPath } = await takeVhdSetSnapshot(set, { snapshotId: S1 });
    const { chain } = await diskDependencies(set);
    expect(chain.map(({ path }) => path)).toEqual([leafPath, (await vhdSetInfo(set)).snapshots[0]?.path]);
    const disks = new FileDisks();
    expect(await disks.resize(set, 96 * MIB)).toMatchObject({ oldSizeBytes: 64 * MIB, sizeBytes: 96 * MIB });
    expect((await vhdInfo(set)).virtualSizeBytes).toBe(96 * MIB);
    // A snapshot has the size that the disk had, and so has the set that goes back to it.
    await applyVhdSetSnapshot(set, S1);
    expect((await vhdInfo(set)).virtualSizeBytes).toBe(64 * MIB);
    // What stands on the set's disk and is not of the set would be ruined.
    const leaf = (await vhdSetInfo(set)).leafPath;
    await createVhd(at('stranger.vhdx'), { parentPath: leaf, format: 'vhdx' });
    await expect(disks.resize(set, 128 * MIB)).rejects.toMatchObject({ code: 'in-use' });
    await expect(disks.set(set, { virtualDiskId: randomGuid() })).rejects.toMatchObject({ code: 'in-use' });
    rmSync(at('stranger.vhdx'));
    await expect(disks.set(set, { virtualDiskId: randomGuid() })).rejects.toMatchObject({
      code: 'unsupported',
      hint: expect.stringContaining('hv vhdset info'),
    });
  });
});
