import { lstatSync, realpathSync } from 'node:fs';
import { basename, dirname, extname, join } from 'node:path';
import { throwIfAborted } from '../async/index.ts';
import { randomGuid } from '../binary/index.ts';
import { fromSystemError, HvError } from '../errors/index.ts';
import { createVhdSetContainer, readVhdSet, type VhdSetState } from '../formats/vhdset/index.ts';
import { createFile } from './create-file.ts';
import { type CreateVhdOptions, createVhd } from './create-vhd.ts';
import { openToLook, readLink } from './read-link.ts';
import { newFilePath, removeFile } from './vhd-set-change.ts';
import { infoOf, type VhdSetInfo, type VhdSetOptions } from './vhd-set-info.ts';
import { placeInSet, realpathOf, type SetPlaces, saidInSet, VhdSetStore } from './vhd-set-store.ts';

export interface CreateVhdSetOptions extends VhdSetOptions, Pick<CreateVhdOptions, 'sizeBytes' | 'blockSizeBytes'> {
  readonly type?: 'dynamic' | 'fixed' | undefined;
  readonly logicalSectorSizeBytes?: number | undefined;
  /** An existing VHDX file, in the set's folder or below, that becomes the set's disk in its place. */
  readonly fromPath?: string | undefined;
}

/** What a new set begins with. */
interface NewSet {
  readonly target: string;
  readonly leafId: string;
  readonly leafPath: string;
  readonly isLeafNew: boolean;
}

/** Everything that createVhdSet refuses, before anything is made. @returns where the disk of the set would lie */
export async function checkNewVhdSet(path: string, options: CreateVhdSetOptions): Promise<string> {
  return (await planSet(path, options)).leafPath;
}

async function planSet(path: string, options: CreateVhdSetOptions): Promise<NewSet> {
  throwIfAborted(options.signal, 'creating the VHD Set');
  if (extname(path).toLowerCase() !== '.vhds') {
    throw new HvError('invalid-argument', `the name of a VHD Set ends in .vhds: ${path} does not`, {
      detail: { path },
    });
  }
  if ((options.fromPath === undefined) === (options.sizeBytes === undefined)) {
    throw new HvError('invalid-argument', 'a new VHD Set needs either a size or an existing disk');
  }
  const target = inRealFolder(path);
  if (lstatSync(target, { throwIfNoEntry: false })) {
    throw new HvError('already-exists', `could not create ${target}: it exists already`, { detail: { path: target } });
  }
  const leafId = randomGuid();
  if (options.fromPath !== undefined) {
    const leafPath = realpathOf(options.fromPath);
    readFirstDisk(leafPath);
    placeInSet(target, leafPath, options);
    return { target, leafId, leafPath, isLeafNew: false };
  }
  const leafPath = newFilePath(target, dirname(target), leafId);
  await createVhd(leafPath, { ...diskOptions(options), dryRun: true });
  return { target, leafId, leafPath, isLeafNew: true };
}

function diskOptions(options: CreateVhdSetOptions): CreateVhdOptions {
  const { sizeBytes, type, blockSizeBytes, logicalSectorSizeBytes, signal } = options;
  return { sizeBytes, type, blockSizeBytes, logicalSectorSizeBytes, signal, format: 'vhdx' };
}

/** The id of the disk that a set begins with. @throws HvError `in-use`, `unsupported`, `not-found`, `corrupt` */
function readFirstDisk(leafPath: string): string {
  const { file, inUse } = openToLook(leafPath);
  try {
    if (inUse) throw new HvError('in-use', `${leafPath} is in use`, { detail: { path: leafPath } });
    const { virtualDiskId, type, format } = readLink(file.store);
    if (type !== 'differencing' && format === 'vhdx') return virtualDiskId;
    throw new HvError('unsupported', `a VHD Set begins with a VHDX file without a parent; ${leafPath} is none`, {
      detail: { path: leafPath },
    });
  } finally {
    file.store.close();
  }
}

/**
 * Makes a VHD Set: a `.vhds` file, and beside it the disk that it begins with, unless that exists already.
 * @throws HvError `already-exists`, `invalid-argument`, `not-found`, `permission-denied`, `no-space`, `unsupported`, `io`, `aborted`
 */
export async function createVhdSet(path: string, options: CreateVhdSetOptions): Promise<VhdSetInfo> {
  const { target, leafId, leafPath, isLeafNew } = await planSet(path, options);
  if (isLeafNew) await createVhd(leafPath, diskOptions(options));
  try {
    return publish(target, leafId, leafPath, readFirstDisk(leafPath), options);
  } catch (error) {
    if (isLeafNew) removeFile(leafPath);
    throw error;
  }
}

function publish(
  target: string,
  leafId: string,
  leafPath: string,
  virtualDiskId: string,
  places: SetPlaces,
): VhdSetInfo {
  const state: VhdSetState = {
    virtualDiskId,
    leafId,
    currentSnapshotId: null,
    defaultPath: null,
    files: [{ id: leafId, path: saidInSet(target, placeInSet(target, leafPath, places)), parentId: null }],
    snapshots: [],
    leftovers: [],
    merging: null,
  };
  const file = createFile(target, (store) => void createVhdSetContainer(store, randomGuid(), state));
  try {
    return infoOf(new VhdSetStore(file, readVhdSet(file.store), places));
  } finally {
    file.store.close();
  }
}

function inRealFolder(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch (error) {
    throw fromSystemError(error, `could not create ${path}`, { path });
  }
}
