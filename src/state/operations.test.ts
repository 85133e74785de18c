import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type HeldOperation, type Operation, OperationJournal } from './operations.ts';
import { type HvPaths, resolvePaths } from './paths.ts';

let paths: HvPaths;
let journal: OperationJournal;
const created = (): Operation => ({ kind: 'create-vm', vmId: randomUUID(), dataPath: '/data', newDisk: null });

beforeEach(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hv-operations-'));
  paths = resolvePaths({ home: join(folder, 'home'), run: join(folder, 'run') });
  journal = new OperationJournal(paths);
});

afterEach(() => rm(join(paths.home, '..'), { recursive: true }));

async function unfinished(): Promise<HeldOperation[]> {
  const found: HeldOperation[] = [];
  for await (const held of journal.unfinished()) found.push(held);
  return found;
}

it('finds what was left, and nothing that is at work or over', async () => {
  expect(await unfinished()).toEqual([]);
  const [left, working, over] = [created(), created(), created()];
  await (await journal.begin(left))[Symbol.asyncDispose]();
  const held = await journal.begin(working);
  await (await journal.begin(over)).finish();
  const found = await unfinished();
  expect(found.map(({ operation }) => operation)).toEqual([left]);
  expect(await unfinished()).toEqual([]); // the one that was found is held now
  for (const each of [...found, held]) await each.finish();
  expect(await readdir(paths.operations)).toEqual([]);
});

it('lets one command at a time at a machine', async () => {
  const begun = created();
  const held = await journal.begin(begun);
  await expect(journal.begin(begun)).rejects.toMatchObject({ code: 'in-use' });
  await held.finish();
  await (await journal.begin(begun)).finish();
});

it('sweeps up after a death in the middle of writing one down, and nothing that is at work', async () => {
  const held = await journal.begin(created());
  const [id, other] = [randomUUID(), randomUUID()];
  for (const name of [`${id}.lock`, `.${id}.json.0123456789ab.tmp`, `${other}.lock`]) {
    await writeFile(join(paths.operations, name), '');
  }
  expect(await unfinished()).toEqual([]);
  const { vmId } = held.operation;
  expect((await readdir(paths.operations)).sort()).toEqual([`${vmId}.json`, `${vmId}.lock`]);
  await held.finish();
});

it('takes no damaged file for an operation', async () => {
  await (await journal.begin(created())).finish();
  const names = ['text', '{"kind":"create-vm"}', JSON.stringify({ ...created(), kind: 'format-host' }), ''];
  for (const text of [...names, JSON.stringify(created())]) {
    await writeFile(join(paths.operations, `${randomUUID()}.json`), text);
  }
  expect(await unfinished()).toEqual([]);
  expect(await readdir(paths.operations)).toEqual([]);
});
