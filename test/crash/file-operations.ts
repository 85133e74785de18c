import { closeSync, existsSync, openSync, readFileSync, statSync, truncateSync, writeSync } from 'node:fs';
import { randomGuid } from '../../src/binary/index.ts';
import { readBackupRecord } from '../../src/disk/backup-record.ts';
import {
  backupDisk,
  changeIdentity,
  changeTrackingState,
  checkVhd,
  compactVhd,
  convertVhd,
  createVhd,
  deleteUserMetadata,
  disableChangeTracking,
  enableChangeTracking,
  forkVhd,
  getUserMetadata,
  listUserMetadata,
  openVhd,
  queryChanges,
  resizeVhd,
  setUserMetadata,
  takeReferencePoint,
  vhdInfo,
} from '../../src/disk/index.ts';
import { isHvError } from '../../src/errors/index.ts';
import { writeFileAtomic } from '../../src/system/index.ts';
import type { CrashedOperation } from './crash-operation.ts';
import { diskAt, fileAt, fill, inFolder, MIB } from './looks.ts';

const SIZE_BYTES = 6 * MIB;

/** A VHDX of small blocks: thousands of its copies are written. */
function sizesFor(name: string): { readonly sizeBytes: number; readonly blockSizeBytes?: number } {
  return { sizeBytes: SIZE_BYTES, ...(name.endsWith('vhdx') ? { blockSizeBytes: MIB } : {}) };
}

function once(path: string, work: () => Promise<unknown>): Promise<unknown> {
  return existsSync(path) ? Promise.resolve() : work();
}

/** New files: whole under their names, or not there. */
export function newFiles(): CrashedOperation[] {
  const operations: CrashedOperation[] = [];
  const add = (
    title: string,
    name: string,
    make: (at: (name: string) => string) => Promise<unknown>,
    prepare: (at: (name: string) => string) => Promise<unknown> = async () => {},
    rest: Partial<CrashedOperation> = {},
  ): void => {
    operations.push({
      title,
      prepare: (folder) => prepare(inFolder(folder)),
      run: (folder) => make(inFolder(folder)),
      look: (folder) => fileAt(inFolder(folder)(name)),
      again: (folder) => once(inFolder(folder)(name), () => make(inFolder(folder))),
      ...rest,
    });
  };
  for (const name of ['new.vhdx', 'new.vhd', 'new.raw']) {
    for (const type of ['dynamic', 'fixed'] as const) {
      add(`creating ${name}, ${type}`, name, (at) => createVhd(at(name), { type, sizeBytes: SIZE_BYTES }));
    }
  }
  // Without files that have no name, a temporary one stays behind a death: its name says whose it is.
  const named: Partial<CrashedOperation> = { unnamedFiles: false, mayStay: (name) => name.endsWith('.hv-new') };
  const create = (at: (name: string) => string): Promise<unknown> =>
    createVhd(at('new.vhdx'), { sizeBytes: SIZE_BYTES });
  add('creating under a temporary name', 'new.vhdx', create, undefined, named);
  for (const format of ['vhdx', 'vhd']) {
    const name = `child.${format}`;
    const parent = async (at: (name: string) => string): Promise<void> => {
      await createVhd(at(`parent.${format}`), sizesFor(format));
      await fill(at(`parent.${format}`), [MIB, 5000, 7]);
    };
    add(
      `creating a child, ${format}`,
      name,
      (at) => createVhd(at(name), { ...sizesFor(format), parentPath: at(`parent.${format}`) }),
      parent,
    );
    const pair = async (at: (name: string) => string): Promise<void> => {
      await parent(at);
      await createVhd(at(`old.${format}`), { ...sizesFor(format), parentPath: at(`parent.${format}`) });
      await fill(at(`old.${format}`), [2 * MIB + 512, 300_000, 9]);
    };
    add(`forking, ${format}`, name, (at) => forkVhd(at(`old.${format}`), at(name)), pair);
    const other = format === 'vhdx' ? 'vhd' : 'vhdx';
    for (const to of [other, 'raw']) {
      const target = `copy.${to}`;
      add(`converting ${format} to ${to}`, target, (at) => convertVhd(at(`old.${format}`), at(target)), pair);
    }
  }
  return operations;
}

/** Changes inside a file: the old or the new disk. */
export function changedFiles(): CrashedOperation[] {
  return [...resizes(), ...compactions(), ...identities(), ...metadata(), ...repairs()];
}

function resizes(): CrashedOperation[] {
  return ['vhdx', 'vhd', 'raw'].flatMap((format) =>
    [4 * MIB + 512, 9 * MIB].map(
      (sizeBytes): CrashedOperation => ({
        title: `resizing ${format} to ${sizeBytes} bytes`,
        prepare: async (folder) => {
          const disk = inFolder(folder)(`disk.${format}`);
          await createVhd(disk, sizesFor(format));
          await fill(disk, [0, 5000, 1], [3 * MIB, 2 * MIB, 2]);
        },
        run: (folder) => resizeVhd(inFolder(folder)(`disk.${format}`), sizeBytes, { unsafe: true }),
        look: (folder) => diskAt(inFolder(folder)(`disk.${format}`)),
      }),
    ),
  );
}

function compactions(): CrashedOperation[] {
  return ['vhdx', 'vhd'].map((format): CrashedOperation => {
    const at = (folder: string): string => inFolder(folder)(`disk.${format}`);
    return {
      title: `compacting ${format}`,
      prepare: async (folder) => {
        await createVhd(at(folder), { sizeBytes: SIZE_BYTES, blockSizeBytes: format === 'vhdx' ? MIB : MIB / 2 });
        await fill(at(folder), [0, 6 * MIB, 3], [MIB, 2 * MIB, 0], [4 * MIB + 512, 900, 4], [5 * MIB, MIB / 2, 0]);
      },
      run: (folder) => compactVhd(at(folder)),
      // Contents never change; the file's own size is what is gained.
      look: async (folder) => ({ disk: await diskAt(at(folder)), fileSizeBytes: statSync(at(folder)).size }),
      isBetween: () => true,
    };
  });
}

function identities(): CrashedOperation[] {
  const id = randomGuid();
  const lookAt = async (path: string): Promise<unknown> => {
    const { virtualDiskId, identifier, physicalSectorSizeBytes } = await vhdInfo(path);
    return { virtualDiskId, identifier, physicalSectorSizeBytes, disk: await diskAt(path) };
  };
  const make = (title: string, format: string, change: Parameters<typeof changeIdentity>[1]): CrashedOperation => ({
    title,
    prepare: async (folder) => {
      await createVhd(inFolder(folder)(`disk.${format}`), sizesFor(format));
      await fill(inFolder(folder)(`disk.${format}`), [MIB, 5000, 7]);
    },
    run: (folder) => changeIdentity(inFolder(folder)(`disk.${format}`), change),
    look: (folder) => lookAt(inFolder(folder)(`disk.${format}`)),
  });
  return [
    make('giving a VHDX another id', 'vhdx', { virtualDiskId: id }),
    make('giving a VHD another id', 'vhd', { virtualDiskId: id }),
    make('giving a VHDX other physical sectors', 'vhdx', { physicalSectorSizeBytes: 512 }),
  ];
}

function metadata(): CrashedOperation[] {
  const [kept, changed] = [randomGuid(), randomGuid()];
  const disk = (folder: string): string => inFolder(folder)('disk.vhdx');
  const common = {
    prepare: async (folder: string) => {
      await createVhd(disk(folder), sizesFor('vhdx'));
      await fill(disk(folder), [MIB, 5000, 7]);
      await setUserMetadata(disk(folder), kept, new Uint8Array(9000).fill(1));
      await setUserMetadata(disk(folder), changed, new Uint8Array(9000).fill(2));
    },
    look: async (folder: string) => {
      const items: Record<string, string> = {};
      for (const { id } of await listUserMetadata(disk(folder))) {
        items[id] = Buffer.from(await getUserMetadata(disk(folder), id)).toString('base64');
      }
      return { items, disk: await diskAt(disk(folder)) };
    },
  };
  const drop = (folder: string): Promise<void> => deleteUserMetadata(disk(folder), changed);
  return [
    {
      title: 'setting an item of metadata',
      ...common,
      run: (folder) => setUserMetadata(disk(folder), changed, new Uint8Array(12_000).fill(3)),
    },
    {
      title: 'deleting an item of metadata',
      ...common,
      run: drop,
      again: async (folder) => {
        const items = await listUserMetadata(disk(folder));
        if (items.some(({ id }) => id === changed)) await drop(folder);
      },
    },
  ];
}

/** Damage that a repair sets right: the disk reads the same throughout, and a second repair ends the first. */
function repairs(): CrashedOperation[] {
  const damage = (path: string, ...places: number[]): void => {
    const fd = openSync(path, 'r+');
    for (const place of places) writeSync(fd, Uint8Array.of(0x5a), 0, 1, place);
    closeSync(fd);
  };
  const make = (title: string, format: string, hurt: (path: string) => void): CrashedOperation => {
    const disk = (folder: string): string => inFolder(folder)(`disk.${format}`);
    return {
      title,
      prepare: async (folder) => {
        await createVhd(disk(folder), sizesFor(format));
        await fill(disk(folder), [MIB, 5000, 7]);
        hurt(disk(folder));
      },
      run: (folder) => checkVhd(disk(folder), { repair: true }),
      look: async (folder) => ({
        disk: await diskAt(disk(folder)),
        findings: (await checkVhd(disk(folder))).findings.map(({ code }) => code),
      }),
      // Of several things that are wrong, some are right already.
      isBetween: (seen) => typeof seen === 'object',
    };
  };
  return [
    make('repairing a VHDX', 'vhdx', (path) => {
      damage(path, 256 * 1024 + 60_000, 64 * 1024 + 200);
    }),
    make('repairing a VHD without its end', 'vhd', (path) => truncateSync(path, statSync(path).size - 512)),
    make('repairing the copy of the footer of a VHD', 'vhd', (path) => damage(path, 50)),
  ];
}

const TARGETS = ['target.raw', 'target.vhdx'];

/** Change tracking and what is made with it. */
export function trackedFiles(): CrashedOperation[] {
  const disk = (folder: string): string => inFolder(folder)('disk.vhdx');
  const tracked = async (folder: string): Promise<void> => {
    await createVhd(disk(folder), sizesFor('vhdx'));
    await fill(disk(folder), [MIB, 5000, 7]);
    await enableChangeTracking(disk(folder));
  };
  const look = async (folder: string): Promise<unknown> => {
    const { enabled } = await changeTrackingState(disk(folder));
    return { enabled, disk: await diskAt(disk(folder)) };
  };
  const operations: CrashedOperation[] = [
    {
      title: 'beginning to track changes',
      prepare: async (folder) => {
        await tracked(folder);
        await disableChangeTracking(disk(folder));
      },
      run: (folder) => enableChangeTracking(disk(folder)),
      look,
    },
    { title: 'ending to track changes', prepare: tracked, run: (folder) => disableChangeTracking(disk(folder)), look },
    namedMoment(disk, tracked),
  ];
  for (const name of TARGETS) {
    const target = (folder: string): string => inFolder(folder)(name);
    const bringUpToDate = (folder: string): Promise<unknown> => {
      const sinceId = readBackupRecord(target(folder))?.changeTrackingId ?? undefined;
      return backupDisk(disk(folder), target(folder), { sinceId });
    };
    const seen = (folder: string): Promise<Backup> => backupAt(target(folder));
    operations.push({
      title: `a full backup to ${name}`,
      prepare: tracked,
      run: (folder) => backupDisk(disk(folder), target(folder)),
      look: seen,
      isBetween: (state) => !(state as Backup).isComplete,
      again: async (folder) => {
        if (!(await backupAt(target(folder))).isComplete) await backupDisk(disk(folder), target(folder));
      },
    });
    operations.push({
      title: `an incremental backup to ${name}`,
      prepare: async (folder) => {
        await tracked(folder);
        await backupDisk(disk(folder), target(folder));
        await fill(disk(folder), [MIB + 2048, 200_000, 9], [4 * MIB, 4096, 5]);
      },
      run: (folder) => bringUpToDate(folder),
      look: seen,
      isBetween: (state) => !(state as Backup).isComplete,
    });
  }
  return operations;
}

interface Backup {
  readonly isComplete: boolean;
  /** Of a backup that says that it is complete. */
  readonly disk: string | undefined;
}

async function backupAt(target: string): Promise<Backup> {
  const isComplete = readBackupRecord(target)?.state === 'complete';
  return { isComplete, disk: isComplete ? await diskAt(target) : undefined };
}

interface Moment {
  readonly id: 'none' | 'known' | 'unknown';
  readonly isWritten: boolean;
  readonly isTold: boolean;
}

/** An id that somebody has is known, and tells of what was written after it was made. */
function namedMoment(disk: (folder: string) => string, prepare: (folder: string) => Promise<void>): CrashedOperation {
  const place = 2 * MIB;
  const note = (folder: string): string => inFolder(folder)('id');
  return {
    title: 'naming a moment, and writing',
    prepare,
    run: async (folder) => {
      await writeFileAtomic(note(folder), await takeReferencePoint(disk(folder)));
      await fill(disk(folder), [place, 512, 8]);
    },
    look: async (folder): Promise<Moment> => {
      const chain = await openVhd(disk(folder), { readOnly: true });
      const sector = new Uint8Array(512);
      chain.read(place, sector, 0, 512);
      await chain.close();
      const isWritten = sector[0] === 8;
      if (!existsSync(note(folder))) return { id: 'none', isWritten, isTold: false };
      try {
        const { ranges } = await queryChanges(disk(folder), readFileSync(note(folder), 'utf8'));
        const isTold = ranges.some(
          (range) => range.offsetBytes <= place && place < range.offsetBytes + range.lengthBytes,
        );
        return { id: 'known', isWritten, isTold };
      } catch (error) {
        if (!isHvError(error)) throw error;
        return { id: 'unknown', isWritten, isTold: false };
      }
    },
    isBetween: (seen) => {
      const { id, isWritten, isTold } = seen as Moment;
      return id === 'none' ? !isWritten : id === 'known' && (!isWritten || isTold);
    },
    mayStay: (name) => name.endsWith('.tmp'),
  };
}
