import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** What changes files, of the calls that the disk room makes. */
const CHANGING = ['writeSync', 'ftruncateSync', 'linkSync', 'unlinkSync', 'renameSync'] as const;

/** What does not change them, but leads to what does. */
const FLUSHING = ['fdatasyncSync', 'fsyncSync', 'fdatasync'] as const;

class Died extends Error {}

export interface DyingRun {
  readonly isDead: boolean;
  readonly changes: number;
}

/**
 * Runs work in which the process dies after so many changes of files: from then on every change fails, and at the end all
 * that was opened is closed at once, with its locks, as the kernel does for a process that is gone.
 */
export async function dieAfter(changes: number, work: () => Promise<unknown>): Promise<DyingRun> {
  const original = { ...fs };
  const { rename, unlink } = fs.promises;
  const open = new Set<number>();
  let count = 0;
  const mustLive = (): void => {
    if (count > changes) throw new Died('the process is dead');
  };
  const step = (): void => {
    count++;
    mustLive();
  };
  // The names are those of functions that the object has: the casts say no more.
  const patched = fs as unknown as Record<string, (...args: never[]) => unknown>;
  const real = original as unknown as Record<string, (...args: never[]) => unknown>;
  const before = (names: readonly string[], check: () => void): void => {
    for (const name of names) {
      patched[name] = (...args) => {
        check();
        return real[name]?.(...args);
      };
    }
  };
  before(CHANGING, step);
  before(FLUSHING, mustLive);
  fs.openSync = (path, flags, mode) => {
    if (typeof flags === 'number' && (flags & fs.constants.O_CREAT) !== 0) step();
    const fd = original.openSync(path, flags, mode);
    open.add(fd);
    return fd;
  };
  fs.closeSync = (fd) => {
    open.delete(fd);
    original.closeSync(fd);
  };
  fs.promises.rename = async (from, to) => {
    step();
    await rename(from, to);
  };
  fs.promises.unlink = async (path) => {
    step();
    await unlink(path);
  };
  syncBuiltinESMExports();
  try {
    await work();
  } catch (error) {
    if (count <= changes) throw error;
  } finally {
    for (const name of [...CHANGING, ...FLUSHING, 'openSync', 'closeSync']) Object.assign(fs, { [name]: real[name] });
    Object.assign(fs.promises, { rename, unlink });
    syncBuiltinESMExports();
    for (const fd of open) original.closeSync(fd);
  }
  return { isDead: count > changes, changes: count };
}
