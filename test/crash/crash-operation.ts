import { existsSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { FolderReplayer, restoreFolder } from './crashed-folder.ts';
import { host } from './host-run.ts';
import { type FolderEvent, type RecordOptions, recordFiles } from './recorded-files.ts';

/** An operation on files by their paths, and what its users may see of it. */
export interface CrashedOperation extends RecordOptions {
  readonly title: string;
  /** What is there before, durable. */
  prepare(folder: string): Promise<unknown>;
  run(folder: string): Promise<unknown>;
  /** All that a user sees, as plain data: equal before and after a crash, or as after the operation. */
  look(folder: string): Promise<unknown>;
  /** States between the old and the new one that are as good; default none. */
  isBetween?(seen: unknown, folder: string): boolean;
  /** What the user does next; it leads to what the whole operation would have led to. Default: the same again. */
  again?(folder: string): Promise<unknown>;
  /** Whether the file may be there when `again` is done, beside those that the whole operation leaves; default none. */
  mayStay?(name: string): boolean;
  /** The same where the names differ each time: what is there and should not be. */
  strays?(folder: string): Promise<readonly string[]>;
}

export interface CrashOptions {
  /** Looks at every n-th moment; before a flush or a change of names, where most is at stake, and at the end always. */
  readonly every: number;
  /** So many moments at most, over the whole of it; the end is one always. Default all. */
  readonly atMost?: number;
  /** Power cuts at each moment. */
  readonly cuts: number;
  readonly seed?: number;
  /** As RecordOptions say. */
  readonly withoutFlushAt?: string;
}

/** The places in the product where the operation makes something durable. */
export async function flushSitesOf(operation: CrashedOperation): Promise<ReadonlySet<string>> {
  return inNewFolder(async (folder) => {
    await operation.prepare(folder);
    return (await recordFiles(folder, () => operation.run(folder), operation)).flushSites;
  });
}

/**
 * Runs the operation once, then looks at what every moment of it leaves: when the process dies, and when the power goes.
 * The old or the new is there, never neither; what has returned stays; and the operation can be brought to its end.
 * @returns how many states were looked at
 */
export function crashOperation(operation: CrashedOperation, options: CrashOptions): Promise<number> {
  return inNewFolder((folder) => crashIn(folder, operation, options));
}

async function inNewFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir(); // thousands of states are written, and none need last
  const folder = realpathSync(mkdtempSync(join(base, 'hv-crash-')));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function crashIn(
  folder: string,
  operation: CrashedOperation,
  { every, atMost, cuts, seed = 1, withoutFlushAt }: CrashOptions,
): Promise<number> {
  await operation.prepare(folder);
  const before = await operation.look(folder);
  const recording = await recordFiles(folder, () => operation.run(folder), { ...operation, withoutFlushAt });
  if (recording.failure !== undefined) throw recording.failure;
  const after = await operation.look(folder);
  expect(after, 'the operation changes something that is seen').not.toEqual(before);
  const namesAfter = namesIn(folder);

  const random = seededRandom(seed);
  const replay = new FolderReplayer(recording);
  const { log } = recording;
  const moments = momentsOf(log, every, atMost);
  let looked = 0;
  for (let moment = 0; moment <= log.length; moment++) {
    replay.advance(moment);
    if (!moments.has(moment)) continue;
    const isOver = moment === log.length;
    for (let cut = 0; cut <= cuts; cut++) {
      const files = cut === 0 ? replay.content() : replay.afterPowerCut(random);
      const model = cut === 0 ? 'death' : `power cut ${cut}`;
      const where = `${operation.title}: ${model} after step ${moment} of ${log.length} (${log[moment - 1]?.what}), seed ${seed}`;
      restoreFolder(folder, files);
      if (cut > 0) host.restart();
      await atThat(where, async () => {
        const seen = await operation.look(folder);
        if (isOver) expect(seen, 'what has returned').toEqual(after);
        else if (!operation.isBetween?.(seen, folder)) expect([before, after]).toContainEqual(seen);
        await (operation.again ?? operation.run)(folder);
        expect(await operation.look(folder), 'done again').toEqual(after);
        const isStray = (name: string): boolean => !namesAfter.includes(name) && !operation.mayStay?.(name);
        expect(await (operation.strays?.(folder) ?? namesIn(folder).filter(isStray)), 'left behind').toEqual([]);
      });
      looked++;
    }
  }
  return looked;
}

function momentsOf(log: readonly FolderEvent[], every: number, atMost = Number.POSITIVE_INFINITY): Set<number> {
  const wanted = [...log.keys()].filter((moment) => moment % every === 0 || isBoundary(log[moment]));
  const step = Math.max(1, wanted.length / (atMost - 1));
  const chosen = new Set([log.length]);
  for (let at = step - 1; at < wanted.length; at += step) chosen.add(wanted[Math.floor(at)] ?? 0);
  return chosen;
}

function isBoundary(event: { readonly kind: string; readonly what: string } | undefined): boolean {
  return event !== undefined && (event.kind !== 'data' || event.what.startsWith('flush'));
}

/** Whatever fails says at which moment. */
async function atThat(where: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    throw new Error(`${where}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** The files of a folder and of those in it. */
export function namesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();
}
