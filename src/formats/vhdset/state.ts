import { isGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { corrupt, type VhdSetCorruption } from './corruption.ts';
import { MAX_FILES, MAX_SNAPSHOTS, MAX_STATE_BYTES, MAX_TEXT, type VhdSetState } from './format.ts';

/** The bytes of a state: UTF-8 JSON with its keys in a fixed order. @throws HvError `unsupported` when a set would hold too much */
export function encodeState(state: VhdSetState): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(ordered(state)), 'utf8');
  if (bytes.length <= MAX_STATE_BYTES && state.files.length <= MAX_FILES && state.snapshots.length <= MAX_SNAPSHOTS) {
    return bytes;
  }
  throw new HvError('unsupported', 'a VHD Set cannot hold so many files and snapshots', {
    detail: { files: state.files.length, snapshots: state.snapshots.length, maxFiles: MAX_FILES },
    hint: 'Delete snapshots and optimize the set.',
  });
}

/** Checks every field and every link. @throws HvError `corrupt` */
export function parseState(name: string, bytes: Uint8Array, fileOffset: number): VhdSetState {
  const fail = (reason: VhdSetCorruption, value: number | string): never => {
    throw corrupt(name, reason, fileOffset, value);
  };
  const root = record(parseJson(bytes) ?? fail('state-text', bytes.length)) ?? fail('state-text', bytes.length);
  const field = <T>(from: Record<string, unknown>, key: string, read: (value: unknown) => T | undefined): T => {
    const value = Object.hasOwn(from, key) ? read(from[key]) : undefined;
    return value === undefined ? fail('state-field', key) : value;
  };
  const list = (key: string, max: number): unknown[] => {
    const items = field(root, key, (value) => (Array.isArray(value) ? (value as unknown[]) : undefined));
    return items.length > max ? fail('state-count', items.length) : items;
  };
  const entry = (value: unknown, key: string): Record<string, unknown> => record(value) ?? fail('state-field', key);
  const state: VhdSetState = {
    virtualDiskId: field(root, 'virtualDiskId', guid),
    leafId: field(root, 'leafId', guid),
    currentSnapshotId: field(root, 'currentSnapshotId', orNull(guid)),
    defaultPath: field(root, 'defaultPath', orNull(path)),
    files: list('files', MAX_FILES).map((value) => {
      const from = entry(value, 'files');
      return {
        id: field(from, 'id', guid),
        path: field(from, 'path', path),
        parentId: field(from, 'parentId', orNull(guid)),
      };
    }),
    snapshots: list('snapshots', MAX_SNAPSHOTS).map((value) => {
      const from = entry(value, 'snapshots');
      return {
        id: field(from, 'id', guid),
        fileId: field(from, 'fileId', orNull(guid)),
        creationTime: field(from, 'creationTime', time),
        parentSnapshotId: field(from, 'parentSnapshotId', orNull(guid)),
        isWriteable: field(from, 'isWriteable', flag),
        rctId: field(from, 'rctId', orNull(shortText)),
      };
    }),
    leftovers: list('leftovers', MAX_FILES).map((value) => path(value) ?? fail('state-field', 'leftovers')),
    merging: field(
      root,
      'merging',
      orNull((value) => {
        const from = entry(value, 'merging');
        return { fileId: field(from, 'fileId', guid), isCopied: field(from, 'isCopied', flag) };
      }),
    ),
  };
  checkLinks(state, fail);
  return state;
}

function checkLinks(state: VhdSetState, fail: (reason: VhdSetCorruption, value: string) => never): void {
  const files = new Map(state.files.map((file) => [file.id, file]));
  const snapshots = new Map(state.snapshots.map((snapshot) => [snapshot.id, snapshot]));
  if (files.size !== state.files.length) fail('state-duplicate', 'files');
  if (new Set(state.files.map((file) => file.path)).size !== files.size) fail('state-duplicate', 'paths');
  if (snapshots.size !== state.snapshots.length) fail('state-duplicate', 'snapshots');
  const mustHave = (map: ReadonlyMap<string, unknown>, id: string | null): void => {
    if (id !== null && !map.has(id)) fail('state-link', id);
  };
  mustHave(files, state.leafId);
  if (state.merging) {
    mustHave(files, state.merging.fileId);
    if (files.get(state.merging.fileId)?.parentId === null) fail('state-link', state.merging.fileId);
  }
  mustHave(snapshots, state.currentSnapshotId);
  for (const { parentId } of state.files) mustHave(files, parentId);
  for (const { fileId, parentSnapshotId } of state.snapshots) {
    mustHave(files, fileId);
    mustHave(snapshots, parentSnapshotId);
  }
  if (hasLoop(state.files, ({ parentId }) => parentId)) fail('state-loop', 'files');
  if (hasLoop(state.snapshots, ({ parentSnapshotId }) => parentSnapshotId)) fail('state-loop', 'snapshots');
  if (state.leftovers.some((left) => state.files.some((file) => file.path === left)))
    fail('state-duplicate', 'leftovers');
}

/** Every item is walked up once: what was seen to end is not walked again. */
function hasLoop<T extends { readonly id: string }>(
  items: readonly T[],
  parentOf: (item: T) => string | null,
): boolean {
  const byId = new Map(items.map((item) => [item.id, item]));
  const ends = new Set<string>();
  for (const item of items) {
    const walk = new Set<string>();
    for (let at: T | undefined = item; at && !ends.has(at.id); at = byId.get(parentOf(at) ?? '')) {
      if (walk.has(at.id)) return true;
      walk.add(at.id);
    }
    for (const id of walk) ends.add(id);
  }
  return false;
}

/** The same state has the same bytes. */
function ordered(state: VhdSetState): VhdSetState {
  return {
    virtualDiskId: state.virtualDiskId,
    leafId: state.leafId,
    currentSnapshotId: state.currentSnapshotId,
    defaultPath: state.defaultPath,
    files: state.files.map(({ id, path: filePath, parentId }) => ({ id, path: filePath, parentId })),
    snapshots: state.snapshots.map(({ id, fileId, creationTime, parentSnapshotId, isWriteable, rctId }) => {
      return { id, fileId, creationTime, parentSnapshotId, isWriteable, rctId };
    }),
    leftovers: state.leftovers,
    merging: state.merging && { fileId: state.merging.fileId, isCopied: state.merging.isCopied },
  };
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined; // No UTF-8, or no JSON.
  }
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>) // an object that is no array has string keys
    : undefined;
}

function guid(value: unknown): string | undefined {
  return typeof value === 'string' && isGuid(value) && value === value.toLowerCase() && !value.includes('{')
    ? value
    : undefined;
}

function path(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= MAX_TEXT && !value.includes('\0')
    ? value
    : undefined;
}

function shortText(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' && value.length <= 256 ? value : undefined;
}

function time(value: unknown): string | undefined {
  return typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value) ? value : undefined;
}

function flag(value: unknown): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined;
}

function orNull<T>(read: (value: unknown) => T | undefined): (value: unknown) => T | null | undefined {
  return (value) => (value === null ? null : read(value));
}
