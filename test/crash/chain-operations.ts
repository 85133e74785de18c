import { copyFileSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { randomGuid } from '../../src/binary/index.ts';
import {
  applyVhdSetSnapshot,
  createVhd,
  createVhdSet,
  deleteVhdSetSnapshot,
  enableChangeTracking,
  mergeVhd,
  modifyVhdSet,
  openVhd,
  optimizeVhdSet,
  setParent,
  takeVhdSetSnapshot,
  type VhdSetInfo,
  vhdInfo,
  vhdSetInfo,
} from '../../src/disk/index.ts';
import { type CrashedOperation, namesIn } from './crash-operation.ts';
import { diskAt, fill, inFolder, MIB } from './looks.ts';

const SIZE_BYTES = 4 * MIB;

interface Chain {
  readonly leaf: string | undefined;
  /** What the merged files read as, while they are there. */
  readonly upper: string | undefined;
  /** What the file under them reads as, once they are gone. */
  readonly lower: string | undefined;
}

/** Two files merged into a third, under a disk that stands on them. */
export function merges(): CrashedOperation[] {
  const make = (format: string, rest: { readonly isTracked: boolean }): CrashedOperation => {
    const named = (folder: string) => (name: string) => inFolder(folder)(`${name}.${format}`);
    let leaf: string | undefined;
    return {
      title: `merging ${format} files${rest.isTracked ? ' whose changes are tracked' : ''}`,
      prepare: async (folder) => {
        const at = named(folder);
        const sizes = format === 'vhdx' ? { blockSizeBytes: MIB } : {};
        await createVhd(at('0'), { sizeBytes: SIZE_BYTES, ...sizes });
        await fill(at('0'), [0, 2 * MIB, 1]);
        for (const [name, parent, offset] of [
          ['1', '0', MIB],
          ['2', '1', 2 * MIB],
          ['leaf', '2', 3 * MIB],
        ] as const) {
          await createVhd(at(name), { parentPath: at(parent), ...sizes });
          if (rest.isTracked && name !== 'leaf') await enableChangeTracking(at(name));
          await fill(at(name), [offset + 512, 300_000, 16 + offset / MIB]);
        }
        leaf = await diskAt(at('leaf'));
      },
      run: (folder) => mergeVhd(named(folder)('2'), { depth: 2 }),
      look: async (folder): Promise<Chain> => {
        const at = named(folder);
        const hasUpper = existsSync(at('2'));
        return {
          leaf: await diskAt(at('leaf')),
          upper: hasUpper && existsSync(at('1')) ? await diskAt(at('2')) : undefined,
          lower: hasUpper ? undefined : await diskAt(at('0')),
        };
      },
      // The file between may be gone already: the leaf stands on the lowest then, and the next merge removes the rest.
      isBetween: (seen, folder) => {
        const { leaf: now, upper, lower } = seen as Chain;
        return now === leaf && upper === undefined && lower === undefined && existsSync(named(folder)('2'));
      },
      again: async (folder) => {
        const source = named(folder)('2');
        if (existsSync(source) || existsSync(`${source}.hv-merge`)) await mergeVhd(source, { depth: 2 });
      },
    };
  };
  return [make('vhdx', { isTracked: false }), make('vhd', { isTracked: false }), make('vhdx', { isTracked: true })];
}

/** A child that is made to stand on another file of the same contents. */
export function newParents(): CrashedOperation[] {
  return ['vhdx', 'vhd'].map((format): CrashedOperation => {
    const named = (folder: string) => (name: string) => inFolder(folder)(`${name}.${format}`);
    return {
      title: `setting the parent, ${format}`,
      prepare: async (folder) => {
        const at = named(folder);
        const sizes = format === 'vhdx' ? { blockSizeBytes: MIB } : {};
        await createVhd(at('old'), { sizeBytes: SIZE_BYTES, ...sizes });
        await fill(at('old'), [MIB, 5000, 1]);
        await createVhd(at('child'), { parentPath: at('old'), ...sizes });
        await fill(at('child'), [2 * MIB, 5000, 2]);
        copyFileSync(at('old'), at('a parent with a much longer name than the old one had'));
      },
      run: (folder) =>
        setParent(named(folder)('child'), named(folder)('a parent with a much longer name than the old one had')),
      look: async (folder) => ({
        disk: await diskAt(named(folder)('child')),
        parentPath: (await vhdInfo(named(folder)('child'))).parentPath,
      }),
    };
  });
}

const [S1, S2, S3] = [randomGuid(), randomGuid(), randomGuid()];

/** Every change of a VHD Set. */
export function sets(): CrashedOperation[] {
  let replaced = '';
  const setIn = (folder: string): string => join(folder, 'disk.vhds');
  const make = (
    title: string,
    run: (set: string) => Promise<unknown>,
    isDone: (info: VhdSetInfo) => boolean,
    also: (set: string) => Promise<unknown> = async () => {},
  ): CrashedOperation => ({
    title,
    prepare: async (folder) => {
      const set = setIn(folder);
      await createVhdSet(set, { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB });
      for (const [index, id] of [S1, randomGuid(), S2].entries()) {
        const disk = await openVhd(set);
        disk.write(index * MIB, new Uint8Array(600).fill(index + 1), 0, 600);
        await disk.close();
        await takeVhdSetSnapshot(set, { snapshotId: id });
        if (index === 1) await deleteVhdSetSnapshot(set, id);
      }
      await also(set);
    },
    run: (folder) => run(setIn(folder)),
    look: async (folder) => {
      const { snapshots, currentSnapshotId, defaultPath, unneededPaths } = await vhdSetInfo(setIn(folder));
      const seen: Record<string, unknown> = {};
      for (const { id, path, parentSnapshotId, isWriteable } of snapshots) {
        seen[id] = { parentSnapshotId, isWriteable, disk: path === null ? null : await diskAt(path, [folder]) };
      }
      const moved = snapshots.find(({ id }) => id === S2)?.path?.endsWith('moved.avhdx');
      return {
        disk: await diskAt(setIn(folder)),
        seen,
        currentSnapshotId,
        defaultPath,
        moved,
        unneeded: unneededPaths.length,
      };
    },
    again: async (folder) => {
      // Any change ends what an earlier one left; this one changes nothing itself.
      const { defaultPath } = await vhdSetInfo(setIn(folder));
      const info = await modifyVhdSet(setIn(folder), { kind: 'default-path', path: defaultPath });
      if (!isDone(info)) await run(setIn(folder));
    },
    strays: async (folder) => {
      const { allPaths } = await vhdSetInfo(setIn(folder));
      return namesIn(folder)
        .map((name) => join(folder, name))
        .filter(
          (path) =>
            path !== setIn(folder) && !allPaths.includes(path) && path !== replaced && !path.endsWith('moved.avhdx'),
        );
    },
  });
  const has = (id: string) => (info: VhdSetInfo) => info.snapshots.some((one) => one.id === id);
  const lacks = (id: string) => (info: VhdSetInfo) => !has(id)(info);
  return [
    {
      title: 'making a set',
      prepare: async () => {},
      run: (folder) => createVhdSet(setIn(folder), { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB }),
      look: async (folder) => (existsSync(setIn(folder)) ? await diskAt(setIn(folder)) : undefined),
      again: async (folder) => {
        if (existsSync(setIn(folder))) return;
        await createVhdSet(setIn(folder), { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB });
      },
      // The disk of a set that was not made is an ordinary file, which nothing names.
      mayStay: (name) => /^disk_[\w-]+\.avhdx$/.test(name),
    },
    make('taking a snapshot', (set) => takeVhdSetSnapshot(set, { snapshotId: S3 }), has(S3)),
    make(
      'taking a writeable snapshot',
      (set) => takeVhdSetSnapshot(set, { snapshotId: S3, isWriteable: true }),
      has(S3),
    ),
    make(
      'applying a snapshot',
      (set) => applyVhdSetSnapshot(set, S1),
      ({ currentSnapshotId }) => currentSnapshotId === S1,
    ),
    make('applying and keeping', (set) => applyVhdSetSnapshot(set, S1, { leafSnapshotId: S3 }), has(S3)),
    make('deleting a snapshot', (set) => deleteVhdSetSnapshot(set, S2), lacks(S2)),
    make('deleting the first snapshot', (set) => deleteVhdSetSnapshot(set, S1), lacks(S1)),
    make(
      'optimizing',
      (set) => optimizeVhdSet(set),
      () => false,
    ),
    make(
      'choosing a folder',
      (set) => modifyVhdSet(set, { kind: 'default-path', path: join(set, '..', 'later') }),
      ({ defaultPath }) => defaultPath.endsWith('later'),
      async (set) => mkdirSync(join(set, '..', 'later')),
    ),
    make(
      'telling where a snapshot was moved to',
      (set) => modifyVhdSet(set, { kind: 'snapshot-path', snapshotId: S2, path: join(set, '..', 'moved.avhdx') }),
      ({ snapshots }) => snapshots.some(({ id, path }) => id === S2 && path?.endsWith('moved.avhdx') === true),
      async (set) => {
        // The file at its old place is the user's to remove.
        replaced = (await vhdSetInfo(set)).snapshots.find(({ id }) => id === S2)?.path ?? '';
        copyFileSync(replaced, join(set, '..', 'moved.avhdx'));
      },
    ),
  ];
}
