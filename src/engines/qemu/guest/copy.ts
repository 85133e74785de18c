import { createHash, type Hash, randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join, posix, resolve, win32 } from 'node:path';
import { type LongOptions, throttleProgress, throwIfAborted } from '../../../async/index.ts';
import { fromSystemError, HvError, isSystemError } from '../../../errors/index.ts';
import type { GuestCopyOptions, GuestCopyResult, GuestProfile } from '../../../model/index.ts';
import { FILE_PIECE_BYTES, type GuestAgent, GuestFile } from '../../../protocols/qga/index.ts';
import { type GuestPlace, PlainPlace, PosixPlace } from './place.ts';

/** A guest may send for ever: so much of the host's file system stays free, looked at each so many bytes. */
const KEPT_FREE_BYTES = 256 * 2 ** 20;
const LOOK_EVERY_BYTES = 16 * 2 ** 20;

type CopyOptions = GuestCopyOptions & LongOptions;

/**
 * Copies a file of this host into the guest; the target is there whole and verified, or as it was. Where no program of the
 * guest may be run, an old target is written over in place, and is empty after a failure.
 */
export async function copyIntoGuest(
  agent: GuestAgent,
  guest: GuestProfile,
  sourcePath: string,
  targetPath: string,
  options: CopyOptions,
): Promise<GuestCopyResult> {
  const { force = false, signal } = options;
  mustBeGuestPath(targetPath);
  const source = resolve(sourcePath);
  await using file = await openSource(source);
  const { size: total, mode } = await file.stat();
  const onProgress = throttleProgress(options.onProgress);
  const place = await placeFor(agent, guest, signal);
  const path = await place.chooseTarget(targetPath, basename(source), force);
  const part = await place.begin(path);
  try {
    const hash = createHash('sha256');
    let sizeBytes = 0;
    await GuestFile.using(agent, part, 'w', { signal }, async (opened) => {
      const piece = Buffer.alloc(FILE_PIECE_BYTES);
      for (;;) {
        throwIfAborted(signal, 'copying into the guest');
        const { bytesRead } = await file.read(piece, 0, piece.length, null);
        if (bytesRead === 0) break;
        const bytes = piece.subarray(0, bytesRead);
        await opened.write(bytes);
        hash.update(bytes);
        sizeBytes += bytesRead;
        onProgress({ phase: 'copying', done: sizeBytes, total: Math.max(total, sizeBytes) });
      }
      await opened.flush();
    });
    const sha256 = hash.digest('hex');
    const verifiedBy = await verify(agent, place, part, { sizeBytes, sha256 }, signal);
    await place.finish(part, path, mode);
    return { path, sizeBytes, sha256, verifiedBy };
  } catch (error) {
    await place.abandon(part);
    throw error;
  }
}

/** Copies a file of the guest to this host; the target is there whole and verified, or as it was. */
export async function copyOutOfGuest(
  agent: GuestAgent,
  guest: GuestProfile,
  sourcePath: string,
  targetPath: string,
  options: CopyOptions,
): Promise<GuestCopyResult> {
  const { force = false, signal } = options;
  mustBeGuestPath(sourcePath);
  const name = sourcePath.startsWith('/') ? posix.basename(sourcePath) : win32.basename(sourcePath);
  const path = await chooseLocalTarget(targetPath, name, force);
  const place = await placeFor(agent, guest, signal);
  const announced = await place.sizeOf(sourcePath);
  const onProgress = throttleProgress(options.onProgress);
  const part = join(dirname(path), `.hv-${randomBytes(6).toString('hex')}.part`);
  await mustLeaveRoom(path, announced ?? 0);
  try {
    const hash = createHash('sha256');
    let sizeBytes = 0;
    let lookAt = 0;
    await using target = await open(part, 'wx');
    await GuestFile.using(agent, sourcePath, 'r', { signal }, async (opened) => {
      for (;;) {
        throwIfAborted(signal, 'copying out of the guest');
        const { bytes, isEnd } = await opened.read();
        sizeBytes += bytes.length;
        // A guest that says more than it announced could go on for ever.
        if (announced !== undefined && sizeBytes > announced) throw changed(sourcePath);
        if (sizeBytes >= lookAt) {
          await mustLeaveRoom(path, LOOK_EVERY_BYTES);
          lookAt = sizeBytes + LOOK_EVERY_BYTES;
        }
        await target.writeFile(bytes);
        hash.update(bytes);
        onProgress({ phase: 'copying', done: sizeBytes, ...(announced === undefined ? {} : { total: announced }) });
        if (isEnd) break;
      }
    });
    if (announced !== undefined && sizeBytes !== announced) throw changed(sourcePath);
    await target.sync();
    const sha256 = hash.digest('hex');
    const verifiedBy = await verify(agent, place, sourcePath, { sizeBytes, sha256 }, signal);
    await rename(part, path);
    return { path, sizeBytes, sha256, verifiedBy };
  } catch (error) {
    await rm(part, { force: true });
    throw fromSystemError(error, `cannot write ${path}`, { path });
  }
}

/** @throws HvError `no-space` */
async function mustLeaveRoom(path: string, wantedBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dirname(path));
  const freeBytes = bavail * bsize;
  if (freeBytes - wantedBytes >= KEPT_FREE_BYTES) return;
  throw new HvError('no-space', `${path} would leave too little space on its file system`, {
    detail: { path, freeBytes, wantedBytes, keptFreeBytes: KEPT_FREE_BYTES },
    hint: 'Copy to a larger file system: 256 MiB stay free whatever a guest sends.',
  });
}

/** The guest says the same hash, or its file is read once more. @throws HvError `corrupt` */
async function verify(
  agent: GuestAgent,
  place: GuestPlace,
  path: string,
  expected: { readonly sizeBytes: number; readonly sha256: string },
  signal: AbortSignal | undefined,
): Promise<GuestCopyResult['verifiedBy']> {
  const told = await place.hashOf(path);
  const found = told ?? (await hashByReading(agent, path, expected.sizeBytes, signal));
  if (found === expected.sha256) return told === undefined ? 'read-back' : 'hash';
  throw new HvError('corrupt', `${path} in the guest is not what was copied`, {
    detail: { path, sha256: expected.sha256, guestSha256: found },
    hint: 'Copy again; something may be writing to it.',
  });
}

async function hashByReading(
  agent: GuestAgent,
  path: string,
  sizeBytes: number,
  signal: AbortSignal | undefined,
): Promise<string> {
  const hash: Hash = createHash('sha256');
  await GuestFile.using(agent, path, 'r', { signal }, async (opened) => {
    for (let done = 0; ; ) {
      const { bytes, isEnd } = await opened.read();
      hash.update(bytes);
      done += bytes.length;
      if (isEnd || done > sizeBytes) return;
    }
  });
  return hash.digest('hex');
}

/** Programs of the guest prepare and finish a copy where they may be run; else there is the file itself. */
async function placeFor(agent: GuestAgent, guest: GuestProfile, signal: AbortSignal | undefined): Promise<GuestPlace> {
  const { commands } = await agent.info({ signal });
  const isPosix = guest === 'linux' && commands.includes('guest-exec');
  return isPosix ? new PosixPlace(agent, signal) : new PlainPlace(agent, signal);
}

function mustBeGuestPath(path: string): void {
  const isAbsolute = path.startsWith('/') || /^[A-Za-z]:\\/.test(path);
  if (isAbsolute && !path.includes('\0') && Buffer.byteLength(path) <= 4096) return;
  throw new HvError('invalid-argument', `${JSON.stringify(path.slice(0, 200))} is not an absolute path of a guest`, {
    hint: 'Write /folder/file, or C:\\folder\\file for a Windows guest.',
  });
}

async function openSource(path: string): Promise<FileHandle> {
  try {
    if ((await stat(path)).isFile()) return await open(path, 'r');
  } catch (error) {
    throw fromSystemError(error, `cannot read ${path}`, { path });
  }
  throw new HvError('invalid-argument', `${path} is not a file`, {
    detail: { path },
    hint: 'Pack a folder first: tar -cf - folder | hv guest exec -i <vm> -- tar -xf - -C /there',
  });
}

async function chooseLocalTarget(wanted: string, name: string, force: boolean): Promise<string> {
  let path = resolve(wanted);
  try {
    let found = await stat(path);
    if (found.isDirectory()) {
      path = join(path, name);
      found = await stat(path);
    }
    if (force && found.isFile()) return path;
  } catch (error) {
    if (isSystemError(error, 'ENOENT') && !(wanted.endsWith('/') && path === resolve(wanted))) return path;
    throw fromSystemError(error, `cannot write ${path}`, { path });
  }
  throw new HvError('already-exists', `${path} exists already`, { detail: { path }, hint: 'Use --force.' });
}

function changed(path: string): HvError {
  return new HvError('io', `${path} changed in the guest while it was copied`, {
    detail: { path },
    hint: 'Copy it again, or make a copy in the guest first.',
  });
}
