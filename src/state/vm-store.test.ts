import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS, NO_QOS } from '../model/index.ts';
import { parseDefinition, SCHEMA_VERSION, type VmDefinition } from './definition.ts';
import { type HvPaths, resolvePaths, vmPaths } from './paths.ts';
import { VmStore } from './vm-store.ts';

let folder: string;
let paths: HvPaths;
let store: VmStore;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-store-'));
  paths = resolvePaths({ home: join(folder, 'home'), run: join(folder, 'run') });
  store = new VmStore(paths);
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

function definition(name: string, id: string = randomUUID()): VmDefinition {
  const driveId = randomUUID();
  return {
    schemaVersion: SCHEMA_VERSION,
    id,
    creationTime: new Date(0).toISOString(),
    user: null,
    dataPath: join(folder, id, 'data'),
    machineType: null,
    nvramFile: null,
    tpmFile: null,
    specification: {
      ...DEFAULT_SETTINGS,
      name,
      generation: 2,
      guest: 'linux',
      processorCount: 1,
      memoryBytes: 2 ** 26,
      hardDiskDrives: [
        {
          id: driveId,
          controllerType: 'SCSI',
          controllerNumber: 0,
          controllerLocation: 0,
          path: '/disks/a.vhdx',
          isPhysical: false,
          qos: NO_QOS,
        },
      ],
      networkAdapters: [],
    },
    savedState: null,
    snapshots: [],
    currentSnapshotId: null,
    attached: { [driveId]: '/disks/a.vhdx' },
    parents: { [driveId]: [] },
    pending: null,
    keyValuePairs: {},
  };
}

describe('VmStore', () => {
  it('gives back what was saved, readable by its owner alone', async () => {
    const saved = definition("Bob's 虚拟机");
    await store.save(saved);
    expect(await store.load(saved.id)).toEqual(saved);
    expect((await stat(vmPaths(paths, saved.id).definition)).mode & 0o777).toBe(0o600);
    expect(await readdir(vmPaths(paths, saved.id).folder)).toEqual(['vm.json']);
  });

  it('lists by name and passes over what is no machine', async () => {
    for (const name of ['b', 'a', 'c']) await store.save(definition(name));
    await mkdir(join(paths.vms, 'lost+found'));
    await mkdir(join(paths.vms, randomUUID())); // of a creation or a deletion that a crash cut short
    expect((await store.list()).map((each) => each.specification.name)).toEqual(['a', 'b', 'c']);
  });

  it('has no machines before there is a home', async () => {
    expect(await store.list()).toEqual([]);
    await expect(store.load(randomUUID())).rejects.toMatchObject({ code: 'not-found' });
  });

  it('never makes a path of what is no id', async () => {
    for (const id of ['../../etc', '', '.', 'a'.repeat(36)]) {
      await expect(store.load(id)).rejects.toMatchObject({ code: 'not-found' });
    }
  });

  it('finds by id before it finds by name, and says when a name is not enough', async () => {
    const first = definition('first');
    const impostor = definition(first.id); // a machine that is named like another's id
    await store.save(first);
    await store.save(impostor);
    expect((await store.resolve(first.id.toUpperCase())).id).toBe(first.id);
    expect((await store.resolve(first.id.slice(0, 8).toUpperCase())).id).toBe(first.id);
    await expect(store.resolve(first.id.slice(0, 7))).rejects.toMatchObject({ code: 'not-found' });
    const twins = [definition('Twin'), definition('tWIN')];
    for (const twin of twins) await store.save(twin);
    await expect(store.resolve('TWIN')).rejects.toMatchObject({
      code: 'ambiguous-name',
      detail: { ids: expect.arrayContaining(twins.map((twin) => twin.id)) },
    });
  });

  it('removes the whole folder, and what is not there without a word', async () => {
    const { id } = definition('gone');
    await store.save(definition('gone', id));
    await store.remove(id);
    await store.remove(id);
    expect(await readdir(paths.vms)).toEqual([]);
  });

  it('keeps a reader from ever seeing half a definition', async () => {
    const wanted = definition('steady');
    await store.save(wanted);
    let isDone = false;
    const writing = (async () => {
      for (let round = 0; round < 60; round++) {
        await store.save({ ...wanted, machineType: 'x'.repeat((round * 997) % 20_000) });
      }
      isDone = true;
    })();
    while (!isDone) expect((await store.load(wanted.id)).specification.name).toBe('steady');
    await writing;
  });

  it('lets one changer in at a time, and the next one after it', async () => {
    const { id } = definition('locked');
    await store.save(definition('locked', id));
    const order: string[] = [];
    const change = async (name: string): Promise<void> => {
      await using _lock = await store.lock(id);
      order.push(`${name} in`);
      await new Promise((resolve) => setTimeout(resolve, 20));
      order.push(`${name} out`);
    };
    await Promise.all([change('a'), change('b')]);
    expect(order[1]).toBe(order[0]?.replace('in', 'out'));
    expect(order[3]).toBe(order[2]?.replace('in', 'out'));
  });
});

describe('parseDefinition', () => {
  const broken: readonly (readonly [string, (whole: VmDefinition) => unknown])[] = [
    ['no object', () => 'text'],
    ['another schema', (whole) => ({ ...whole, schemaVersion: SCHEMA_VERSION + 1 })],
    ['a field that is unknown', (whole) => ({ ...whole, extra: 1 })],
    ['root as its user', (whole) => ({ ...whole, user: { uid: 0, gid: 0 } })],
    ['a relative disk', (whole) => ({ ...whole, attached: { [whole.id]: 'a.vhdx' } })],
    ['firmware variables outside of its folder', (whole) => ({ ...whole, nvramFile: '../other/nvram.fd' })],
    ['firmware variables at an absolute path', (whole) => ({ ...whole, nvramFile: '/etc/shadow' })],
    [
      'a saved state that is hidden',
      (whole) => ({ ...whole, savedState: { file: 'saved/.hidden', savedTime: '', paused: false } }),
    ],
    [
      'a saved state that climbs',
      (whole) => ({ ...whole, savedState: { file: 'saved/../../x', savedTime: '', paused: false } }),
    ],
  ];

  it.each(broken)('refuses %s and says where', (_what, change) => {
    expect(parseDefinition(change(definition('x')))).toMatchObject({ problem: expect.stringMatching(/./) });
  });

  it('takes what the store writes', async () => {
    const whole = definition('whole');
    await store.save(whole);
    const text = await readFile(vmPaths(paths, whole.id).definition, 'utf8');
    expect(parseDefinition(JSON.parse(text))).toEqual({ definition: whole });
  });
});

describe('a damaged definition', () => {
  it('is named by every question that it may be the answer to, and by none other', async () => {
    const [damaged, whole] = [definition('damaged'), definition('whole')];
    await store.save(damaged);
    await store.save(whole);
    const path = vmPaths(paths, damaged.id).definition;
    await writeFile(path, '{"schemaVersion":1');
    for (const ask of [() => store.load(damaged.id), () => store.list(), () => store.resolve('damaged')]) {
      await expect(ask()).rejects.toMatchObject({ code: 'corrupt', detail: { path } });
    }
    expect((await store.load(whole.id)).id).toBe(whole.id);
    expect((await store.resolve('whole')).id).toBe(whole.id);
    expect(await store.survey()).toEqual({
      definitions: [whole],
      damaged: [{ id: damaged.id, path, error: expect.objectContaining({ code: 'corrupt', detail: { path } }) }],
    });
  });
});
