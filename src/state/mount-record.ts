import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { fromSystemError, isSystemError } from '../errors/index.ts';
import { writeFileAtomic } from '../system/index.ts';
import type { HvPaths } from './paths.ts';

/** The folder of a disk that is mounted, below the run folder: gone after a restart of the host. */
export interface MountPaths {
  readonly folder: string;
  readonly record: string;
  readonly controlSocket: string;
  /** Where the worker serves the disk to the kernel's NBD device. */
  readonly nbdSocket: string;
  readonly log: string;
  /** Where the disk's files are shown. */
  readonly files: string;
  /** One folder below it for each file system that is mounted. */
  readonly fileSystems: string;
}

const FOLDER_NAME = /^m-[0-9a-f]{12}$/;

/** @param path the disk's file, absolute and without links */
export function mountPaths(paths: HvPaths, path: string): MountPaths {
  return pathsIn(join(paths.run, `m-${createHash('sha256').update(path).digest('hex').slice(0, 12)}`));
}

function pathsIn(folder: string): MountPaths {
  return {
    folder,
    record: join(folder, 'mount.json'),
    controlSocket: join(folder, 'control.sock'),
    nbdSocket: join(folder, 'nbd.sock'),
    log: join(folder, 'worker.log'),
    files: join(folder, 'disk'),
    fileSystems: join(folder, 'fs'),
  };
}

const record = z.object({
  schemaVersion: z.literal(1),
  path: z.string(),
  way: z.enum(['nbd', 'fuse-loop', 'fuse']),
  readOnly: z.boolean(),
  sizeBytes: z.int().min(0),
  devicePath: z.string().nullable(),
  filePath: z.string(),
  partitions: z.array(
    z.object({
      number: z.int().min(1),
      offsetBytes: z.int().min(0),
      sizeBytes: z.int().min(0),
      type: z.string(),
      filePath: z.string(),
      devicePath: z.string().nullable(),
      mountPath: z.string().nullable(),
    }),
  ),
  bootId: z.string(),
  worker: z.strictObject({ pid: z.int().min(2), startTicks: z.int().min(0) }),
  startedTime: z.string(),
});

/** What is known of a mounted disk; written while its worker still has its starter's rights. */
export type MountRecord = z.infer<typeof record>;

/** Undefined where there is none, or none that is whole: its worker died while it started. */
export async function readMountRecord(at: MountPaths): Promise<MountRecord | undefined> {
  try {
    const parsed = record.safeParse(JSON.parse(await readFile(at.record, 'utf8')));
    return parsed.success ? parsed.data : undefined;
  } catch (error) {
    if (error instanceof SyntaxError || isSystemError(error, 'ENOENT', 'ENOTDIR')) return undefined;
    throw fromSystemError(error, `cannot read ${at.record}`, { path: at.record });
  }
}

export async function writeMountRecord(at: MountPaths, value: MountRecord): Promise<void> {
  await writeFileAtomic(at.record, JSON.stringify(value), { mode: 0o600 });
}

/** The folders of all mounted disks. */
export async function listMounts(paths: HvPaths): Promise<MountPaths[]> {
  try {
    const names = await readdir(paths.run);
    return names.filter((name) => FOLDER_NAME.test(basename(name))).map((name) => pathsIn(join(paths.run, name)));
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw fromSystemError(error, `cannot look into ${paths.run}`, { path: paths.run });
  }
}
