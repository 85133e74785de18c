import { constants } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { fromSystemError, isSystemError } from '../errors/index.ts';
import { writeFileAtomic } from '../system/index.ts';
import { shortId } from './paths.ts';

const identity = z.strictObject({ pid: z.int().min(2), startTicks: z.int().min(0) });

/**
 * Written by a worker that may be of another version of hv than its reader, because machines outlive an update: fields
 * are only ever added, with a default, and those that a reader does not know are passed over.
 */
const runtime = z.object({
  schemaVersion: z.literal(1),
  vmId: z.guid().lowercase(),
  /** A record of another boot describes nothing. */
  bootId: z.string(),
  /**
   * starting: QEMU is up and the machine may not run before the definition says so; running, paused: as they say;
   * saving, snapshotting: stopped for a moment by an operation; merging: its disk waits for a moment to hear which file it
   * is; stopping: on its way off.
   */
  phase: z.enum(['starting', 'running', 'paused', 'saving', 'snapshotting', 'merging', 'stopping']),
  /** Where saving, snapshotting and merging return to. */
  resumeTo: z.enum(['running', 'paused']),
  qemu: identity,
  worker: identity,
  startedTime: z.string(),
  acceleration: z.enum(['kvm', 'tcg']),
  /** The start takes a saved state in. */
  restores: z.boolean().default(false),
  /** Why it is paused, when nobody asked for it. */
  pauseReason: z.string().max(500).nullable(),
});

/** What the worker of a running machine says about it, in the machine's run folder. */
export type RuntimeRecord = z.infer<typeof runtime>;

const lastExit = z.object({
  schemaVersion: z.literal(1),
  time: z.string(),
  kind: z.enum(['guest-shutdown', 'stopped', 'force-stopped', 'saved', 'crashed', 'failed']),
  message: z.string().max(2000),
});

/** How the machine last went off, in its data folder. */
export type LastExit = z.infer<typeof lastExit>;

export const RUNTIME_FILE = 'runtime.json';
export const LAST_EXIT_FILE = 'last-exit.json';

/**
 * Undefined where there is none, or where what is there is not one: it is written by an unprivileged process, which may
 * claim to be another machine.
 */
export async function readRuntime(runFolder: string): Promise<RuntimeRecord | undefined> {
  const record = await readChecked(join(runFolder, RUNTIME_FILE), runtime);
  return record && shortId(record.vmId) === basename(runFolder) ? record : undefined;
}

export async function writeRuntime(runFolder: string, record: RuntimeRecord): Promise<void> {
  await writeFileAtomic(join(runFolder, RUNTIME_FILE), JSON.stringify(record), { mode: 0o600 });
}

export async function removeRuntime(runFolder: string): Promise<void> {
  await rm(join(runFolder, RUNTIME_FILE), { force: true });
}

export async function readLastExit(dataFolder: string): Promise<LastExit | undefined> {
  return readChecked(join(dataFolder, LAST_EXIT_FILE), lastExit);
}

export async function writeLastExit(dataFolder: string, record: LastExit): Promise<void> {
  await writeFileAtomic(join(dataFolder, LAST_EXIT_FILE), JSON.stringify(record), { mode: 0o600 });
}

const MAX_RECORD_BYTES = 64 * 1024;

/** The file's writer may be hostile: no link is followed, no pipe waited for, no more read than a record can have. */
async function readChecked<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  let text: string;
  try {
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > MAX_RECORD_BYTES) return undefined;
    text = (await file.readFile()).toString('utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'EACCES', 'ELOOP', 'ENOTDIR', 'ENXIO')) return undefined;
    throw fromSystemError(error, `cannot read ${path}`, { path });
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch {
    return undefined; // half written by a dying process, or not ours: as good as absent
  }
}
