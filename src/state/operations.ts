import { readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fromSystemError, isHvError, isSystemError } from '../errors/index.ts';
import { acquireLock, type FileLock, writeFileAtomic } from '../system/index.ts';
import { ensureFolder, type HvPaths } from './paths.ts';
import { absolutePath, guid } from './values.ts';

/** `<id>.json`, `<id>.lock`, and the first before it is whole: `.<id>.json.<digits>.tmp`, whose name may be cut. */
const OWN_NAME = /^\.?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.[a-z0-9.]+$/;

/** A file, told apart from any other that has or had its path: device, inode and time of birth. */
const identity = z.string().regex(/^\d+:\d+:\d+$/);
const ownedFile = z.strictObject({ path: absolutePath, identity });

const operation = z.discriminatedUnion('kind', [
  /** Undone where the machine's definition is not there: what was made for it goes. */
  z.strictObject({
    kind: z.literal('create-vm'),
    vmId: guid,
    dataPath: absolutePath,
    /** The disk that is made with it. The id is chosen before, so that the file can be told from any other. */
    newDisk: z.strictObject({ path: absolutePath, virtualDiskId: guid }).nullable(),
  }),
  /** Finished where the machine's definition is gone: what it owned goes as well. */
  z.strictObject({
    kind: z.literal('delete-vm'),
    vmId: guid,
    dataPath: absolutePath,
    disks: z.array(ownedFile),
  }),
]);

/** Work on files that a crash may leave half done. */
export type Operation = z.infer<typeof operation>;

/** An operation that is under way here: nobody else works on it. Leaving its scope leaves it to whoever comes next. */
export interface HeldOperation extends AsyncDisposable {
  readonly operation: Operation;
  /** It is over, done or undone. */
  finish(): Promise<void>;
}

/**
 * Operations under HV_HOME/operations, one file a machine: written down before they begin and removed when they are over,
 * so that one that was killed is finished or undone by whichever command comes next.
 */
export class OperationJournal {
  readonly #paths: HvPaths;

  constructor(paths: HvPaths) {
    this.#paths = paths;
  }

  /** @throws HvError `in-use` (another command is at work on the machine), `no-space`, `io` */
  async begin(begun: Operation): Promise<HeldOperation> {
    await ensureFolder(this.#paths.operations);
    const held = new Held(this.#paths, await this.#lock(begun.vmId), begun);
    try {
      await writeFileAtomic(fileOf(this.#paths, begun.vmId), `${JSON.stringify(begun)}\n`);
      return held;
    } catch (error) {
      await held.finish();
      throw error;
    }
  }

  /**
   * Those that nobody is at work on any more, each held from here on. What cannot be read was never begun: it goes, as
   * does what a death in the middle of writing it down left.
   */
  async *unfinished(): AsyncGenerator<HeldOperation> {
    for (const [vmId, names] of await this.#entries()) {
      let lock: FileLock;
      try {
        lock = await this.#lock(vmId);
      } catch (error) {
        if (isHvError(error, 'in-use')) continue;
        throw error;
      }
      const found = await this.#read(vmId);
      if (found) yield new Held(this.#paths, lock, found);
      else await this.#forget(names, lock);
    }
  }

  /** The files of each machine that has any here. */
  async #entries(): Promise<Map<string, string[]>> {
    const entries = new Map<string, string[]>();
    try {
      for (const name of await readdir(this.#paths.operations)) {
        const [, vmId] = OWN_NAME.exec(name) ?? [];
        if (vmId !== undefined) entries.set(vmId, [...(entries.get(vmId) ?? []), name]);
      }
      return entries;
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return entries;
      throw fromSystemError(error, `cannot read the folder ${this.#paths.operations}`, {
        path: this.#paths.operations,
      });
    }
  }

  async #read(vmId: string): Promise<Operation | undefined> {
    try {
      const parsed = operation.safeParse(JSON.parse(await readFile(fileOf(this.#paths, vmId), 'utf8')));
      return parsed.success && parsed.data.vmId === vmId ? parsed.data : undefined;
    } catch {
      return undefined; // Finished meanwhile, or no journal of this version.
    }
  }

  /** The lock's own file goes last: whoever waits for it finds it gone and asks for a new one. */
  async #forget(names: readonly string[], lock: FileLock): Promise<void> {
    const files = names.map((name) => join(this.#paths.operations, name)).filter((path) => path !== lock.path);
    for (const path of [...files, lock.path]) await removeFile(path);
    lock.release();
  }

  #lock(vmId: string): Promise<FileLock> {
    return acquireLock(join(this.#paths.operations, `${vmId}.lock`), { timeoutMs: 0 });
  }
}

async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `cannot remove ${path}`, { path });
  }
}

function fileOf(paths: HvPaths, vmId: string): string {
  return join(paths.operations, `${vmId}.json`);
}

class Held implements HeldOperation {
  readonly operation: Operation;
  readonly #paths: HvPaths;
  readonly #lock: FileLock;

  constructor(paths: HvPaths, lock: FileLock, begun: Operation) {
    this.#paths = paths;
    this.#lock = lock;
    this.operation = begun;
  }

  async finish(): Promise<void> {
    for (const path of [fileOf(this.#paths, this.operation.vmId), this.#lock.path]) await removeFile(path);
    this.#lock.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lock.release();
  }
}
