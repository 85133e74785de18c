import { readdirSync, realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { fromSystemError, HvError, invariant, isHvError, isSystemError } from '../errors/index.ts';
import {
  type OpenVhdSet,
  readVhdSet,
  type SetFile,
  type SetSnapshot,
  type VhdSetState,
  writeVhdSet,
} from '../formats/vhdset/index.ts';
import { type OpenFile, openImageFile } from './open-file.ts';
import { mayHoldParent, resolveAllowed } from './parent-paths.ts';

/** Where a set's files may lie beside its own folder. */
export interface SetPlaces {
  readonly allowParents?: readonly string[] | undefined;
}

/** A VHD Set's container, open and locked: its state, and where its files are. */
export class VhdSetStore {
  readonly path: string;
  readonly folder: string;
  readonly #file: OpenFile;
  readonly #allowed: readonly string[];
  /** A change is only thought through: saving keeps it in memory. */
  readonly isPlan: boolean;
  #current: OpenVhdSet;

  /** @throws HvError `not-found`, `permission-denied`, `in-use`, `corrupt`, `unsupported` (none of hv's), `io` */
  static open(path: string, access: 'read' | 'plan' | 'write', places: SetPlaces): VhdSetStore {
    const file = openImageFile(path, { access: access === 'write' ? 'write' : 'read' });
    try {
      return new VhdSetStore(file, readVhdSet(file.store), { ...places, isPlan: access === 'plan' });
    } catch (error) {
      file.store.close();
      throw error;
    }
  }

  constructor(file: OpenFile, current: OpenVhdSet, places: SetPlaces & { readonly isPlan?: boolean }) {
    this.#file = file;
    this.isPlan = places.isPlan ?? false;
    this.path = file.path;
    this.folder = dirname(file.path);
    this.#current = current;
    this.#allowed = resolveAllowed(places.allowParents ?? []);
  }

  get setId(): string {
    return this.#current.setId;
  }

  get state(): VhdSetState {
    return this.#current.state;
  }

  /** What to allow where a file of the set is opened: the set's own folder, and what the caller allows. */
  get allowParents(): readonly string[] {
    return [this.folder, ...this.#allowed];
  }

  /** Replaces the state, as one. @throws HvError `unsupported` (too much), `io`, `no-space` */
  save(state: VhdSetState): void {
    if (this.isPlan) this.#current = { ...this.#current, state };
    else this.#current = writeVhdSet(this.#file.store, this.#current, state);
  }

  file(id: string): SetFile {
    const file = this.state.files.find((candidate) => candidate.id === id);
    invariant(file, 'a state names only files that it lists');
    return file;
  }

  /** @throws HvError `not-found` */
  snapshot(id: string): SetSnapshot {
    const snapshot = this.state.snapshots.find((candidate) => candidate.id === id);
    if (snapshot) return snapshot;
    throw new HvError('not-found', `${this.path} has no snapshot ${id}`, {
      detail: { path: this.path, snapshotId: id },
    });
  }

  get leafPath(): string {
    return this.pathOf(this.file(this.state.leafId).path);
  }

  /** The files from one down to the lowest, as absolute paths. */
  chainOf(fileId: string): string[] {
    const paths: string[] = [];
    for (let id: string | null = fileId; id !== null; ) {
      const file = this.file(id);
      paths.push(this.pathOf(file.path));
      id = file.parentId;
    }
    return paths;
  }

  childrenOf(fileId: string): SetFile[] {
    return this.state.files.filter(({ parentId }) => parentId === fileId);
  }

  /**
   * Where a file of the set lies, absolute and without links in its folder.
   * @throws HvError `permission-denied` when the container leads out of its own folder to where nobody allowed it
   */
  pathOf(said: string): string {
    return placeOf(this.path, said, this.#allowed);
  }

  /** How a path stands in the container. */
  said(path: string): string {
    return saidInSet(this.path, path);
  }

  close(): void {
    this.#file.store.close();
  }
}

/** The same before there is a container. @throws HvError `permission-denied` */
export function placeInSet(setPath: string, said: string, places: SetPlaces): string {
  return placeOf(setPath, said, resolveAllowed(places.allowParents ?? []));
}

/** How a path stands in a container: from its folder on where it lies below that. */
export function saidInSet(setPath: string, path: string): string {
  const inside = relative(dirname(setPath), path);
  const isInside = inside !== '' && inside !== '..' && !inside.startsWith(`..${sep}`) && !isAbsolute(inside);
  return isInside ? inside.replaceAll(sep, '/') : path;
}

/** The disk file that a set has now, with the set locked against changes until `release`. @throws HvError as VhdSetStore.open */
export function lockVhdSetLeaf(
  path: string,
  places: SetPlaces,
): {
  readonly path: string;
  readonly setPath: string;
  readonly allowParents: readonly string[];
  release(): void;
} {
  const set = VhdSetStore.open(path, 'read', places);
  try {
    return { path: set.leafPath, setPath: set.path, allowParents: set.allowParents, release: () => set.close() };
  } catch (error) {
    set.close();
    throw error;
  }
}

/** Does something with the disk file that a set has now; until it is done, nobody makes another file that. @throws HvError as VhdSetStore.open */
export async function onVhdSetLeaf<T>(
  path: string,
  places: SetPlaces,
  work: (leafPath: string, allowParents: readonly string[]) => Promise<T>,
): Promise<T> {
  const leaf = lockVhdSetLeaf(path, places);
  try {
    return await work(leaf.path, leaf.allowParents);
  } finally {
    leaf.release();
  }
}

/** So many sets of a folder are looked at. */
const MAX_SETS = 256;

/** The VHD Sets of a file's own folder that keep it; a container that cannot be read keeps nothing. */
export function setsKeeping(path: string): { readonly setPath: string; readonly isLeaf: boolean }[] {
  const folder = dirname(path);
  return setNames(folder).flatMap((name) => {
    try {
      // Without a lock: a look must not get in the way of whoever changes the set.
      const file = openImageFile(join(folder, name), { access: 'read', lock: false });
      try {
        const { leafId, files } = readVhdSet(file.store).state;
        const kept = files.find((candidate) => resolve(folder, candidate.path) === path);
        return kept ? [{ setPath: file.path, isLeaf: kept.id === leafId }] : [];
      } finally {
        file.store.close();
      }
    } catch (error) {
      if (isHvError(error)) return [];
      throw error;
    }
  });
}

function setNames(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.toLowerCase().endsWith('.vhds'))
      .slice(0, MAX_SETS);
  } catch {
    return []; // A folder that may be passed through but not listed.
  }
}

function placeOf(setPath: string, said: string, allowed: readonly string[]): string {
  const place = resolve(dirname(setPath), said);
  let real: string;
  try {
    real = realpathSync(place);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT', 'ENOTDIR')) {
      throw fromSystemError(error, `could not find ${place}`, { path: place });
    }
    real = realOfMissing(place);
  }
  if (mayHoldParent(setPath, real, allowed)) return real;
  throw new HvError('permission-denied', `${setPath} names a file outside of its own folder: ${real}`, {
    detail: { path: setPath, leadsTo: real },
    hint: 'Allow it with --allow-parent, if that file is meant.',
  });
}

function realOfMissing(path: string): string {
  try {
    return join(realpathSync(dirname(path)), basename(path));
  } catch {
    return path; // Its folder is not there either.
  }
}

/** @throws HvError `not-found`, `permission-denied`, `io` */
export function realpathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
}
