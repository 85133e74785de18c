import { constants } from 'node:fs';
import {
  chmod,
  chown,
  type FileHandle,
  lchown,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  rm,
  rmdir,
  stat,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fromSystemError, HvError, isSystemError } from '../../errors/index.ts';
import type { VmDefinition } from '../../state/index.ts';
import { syncFolder } from '../../system/index.ts';

/** Parts of a machine's data folder. */
export const DATA = { disks: 'disks', saved: 'saved', snapshots: 'snapshots' } as const;

/**
 * Makes a machine's data folder with its parts. Where the machine has a user of its own, that user may add files to each
 * folder but not put another thing in the place of a part (the sticky bit: an entry is changed by its owner only), so that
 * root's way into a part leads nowhere else.
 */
export async function makeDataFolder(definition: Pick<VmDefinition, 'dataPath' | 'user'>): Promise<void> {
  const { dataPath, user } = definition;
  const make = async (path: string, userMode: number): Promise<void> => {
    await mkdir(path, { mode: 0o700 });
    if (!user) return;
    await chown(path, 0, user.gid);
    await chmod(path, userMode); // as given, whatever the umask; after chown, which may clear bits
  };
  try {
    await mkdir(dirname(dataPath), { recursive: true, mode: 0o700 });
    await make(dataPath, 0o1770);
    for (const part of Object.values(DATA)) await make(join(dataPath, part), 0o770);
  } catch (error) {
    throw fromSystemError(error, `cannot make the folder ${dataPath}`, { path: dataPath });
  }
}

/** Removes the data folder, and the folder of the machine's own around it where nothing else is in that. */
export async function removeDataFolder({ dataPath }: Pick<VmDefinition, 'dataPath'>): Promise<void> {
  try {
    await rm(dataPath, { recursive: true, force: true });
    await rmdir(dirname(dataPath));
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) return;
    throw fromSystemError(error, `cannot remove the folder ${dataPath}`, { path: dataPath });
  }
}

/**
 * The machine's run folder, for its sockets and its runtime record.
 * @throws HvError `permission-denied` where the machine's own user cannot walk to it
 */
export async function makeRunFolder(path: string, user: VmDefinition['user']): Promise<void> {
  if (user) await requirePassable(dirname(path));
  try {
    await mkdir(path, { mode: 0o700 });
    if (user) await lchown(path, user.uid, user.gid);
  } catch (error) {
    if (!isSystemError(error, 'EEXIST')) throw fromSystemError(error, `cannot make the folder ${path}`, { path });
  }
}

/** Sockets are found by their path, so every folder above them must be searchable by the machine's own user. */
async function requirePassable(folder: string): Promise<void> {
  for (let path = folder; ; path = dirname(path)) {
    const { mode } = await stat(path);
    if ((mode & 0o001) === 0) {
      throw new HvError('permission-denied', `the folder ${path} keeps a machine's own user from its sockets`, {
        detail: { path, mode: (mode & 0o7777).toString(8) },
        hint: `Set HV_RUN to a folder that every user may pass, or: chmod o+x ${path}`,
      });
    }
    if (path === dirname(path)) return;
  }
}

/** The last bytes of a file that an unprivileged process writes: no link is followed, no pipe waited for. */
export async function readTail(path: string, maxBytes: number): Promise<string> {
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile()) return '';
    const length = Math.min(maxBytes, stat.size);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, stat.size - length);
    return buffer.toString('utf8', 0, bytesRead);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ELOOP')) return '';
    throw fromSystemError(error, `cannot read ${path}`, { path });
  }
}

/** The firmware's variables are all that is copied: half a megabyte. */
const MAX_COPIED_BYTES = 16 * 2 ** 20;

/**
 * Copies a file into the machine's data folder as that machine's user would: nothing is replaced, no link is followed on
 * the last step, and what was opened is then asked for its true place, so that no planted folder leads outside either.
 */
export async function copyIntoData(
  definition: Pick<VmDefinition, 'dataPath' | 'user'>,
  source: string,
  file: string,
): Promise<void> {
  const target = join(definition.dataPath, file);
  const isInside = async (handle: FileHandle, folder: string): Promise<boolean> =>
    (await readlink(`/proc/self/fd/${handle.fd}`)).startsWith(`${await realpath(folder)}/`);
  try {
    await using from = await open(source, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const isOwn = source.startsWith(`${definition.dataPath}/`);
    const found = await from.stat();
    if (found.size > MAX_COPIED_BYTES || !found.isFile() || (isOwn && !(await isInside(from, definition.dataPath))))
      throw notOurs(source);
    await using to = await open(
      target,
      constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
      0o600,
    );
    if (!(await isInside(to, definition.dataPath))) throw notOurs(target);
    await to.writeFile(await from.readFile());
    await to.sync();
    await syncFolder(dirname(target));
    if (definition.user) await to.chown(definition.user.uid, definition.user.gid);
  } catch (error) {
    throw fromSystemError(error, `cannot copy ${source} to ${target}`, { path: target });
  }
}

function notOurs(path: string): HvError {
  return new HvError('permission-denied', `${path} is not what hv put there`, {
    detail: { path },
    hint: 'Look at what the machine did to its own data folder.',
  });
}

/** Deletes what crashed operations left in the data folder: files that neither the definition nor a kept layer names. */
export async function collectGarbage(definition: VmDefinition, layers: ReadonlySet<string>): Promise<void> {
  const states = [definition.savedState, ...definition.snapshots.map((snapshot) => snapshot.savedState)];
  const named = [
    ...states.map((state) => state?.file),
    definition.nvramFile,
    ...definition.snapshots.map((snapshot) => snapshot.nvramFile),
  ].filter((file) => typeof file === 'string');
  const keep = new Set([...named.map((file) => join(definition.dataPath, file)), ...layers]);
  for (const part of Object.values(DATA)) {
    const folder = join(definition.dataPath, part);
    // The path has no links when it is written down: one that was put there since leads to what is not ours to delete.
    if ((await realpath(folder)) !== folder) throw notOurs(folder);
    for (const name of await readdir(folder)) {
      const path = join(folder, name);
      if (!keep.has(path)) await rm(path, { force: true, recursive: true });
    }
  }
}
