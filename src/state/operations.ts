import { readdir, readFile, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fromSystemError, isHvError, isSystemError } from '../errors/index.ts';
import { acquireLock, type FileLock, writeFileAtomic } from '../system/index.ts';
import { ensureFolder, type HvPaths } from './paths.ts';
import { absolutePath, guid } from './values.ts';

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

  /** Those that nobody is at work on any more, each held from here on. What cannot be read was never begun. */
  async *unfinished(): AsyncGenerator<HeldOperation> {
    for (const vmId of await this.#names()) {
      let lock: FileLock;
      try {
        lock = await this.#lock(vmId);
      } catch (error) {
        if (isHvError(error, 'in-use')) continue;
        throw error;
      }
      const found = await this.#read(vmId);
      if (found) yield new Held(this.#paths, lock, found);
      else lock.release();
    }
  }

  async #names(): Promise<string[]> {
    try {
      const names = await readdir(this.#paths.operations);
      return names.filter((name) => name.endsWith('.json') && !name.startsWith('.')).map((name) => name.slice(0, -5));
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return [];
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

  #lock(vmId: string): Promise<FileLock> {
    return acquireLock(join(this.#paths.operations, `${vmId}.lock`), { timeoutMs: 0 });
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
    for (const path of [fileOf(this.#paths, this.operation.vmId), this.#lock.path]) {
      try {
        await unlink(path);
      } catch (error) {
        if (!isSystemError(error, 'ENOENT')) throw fromSystemError(error, `cannot remove ${path}`, { path });
      }
    }
    this.#lock.release();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#lock.release();
  }
}
