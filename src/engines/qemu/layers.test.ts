import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVhd } from '../../disk/index.ts';
import type { VmDefinition } from '../../state/index.ts';
import { dropAbandonedLayers, isOwnLayer, knownParents, namedLayers, readForest } from './layers.ts';

const MIB = 2 ** 20;
const DRIVE = randomUUID();
let folder: string;
let dataPath: string;
let attached: string;

beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'hv-layers-')));
  dataPath = join(folder, 'data');
  await mkdir(join(dataPath, 'disks'), { recursive: true });
  attached = join(folder, 'attached.vhdx');
  await createVhd(attached, { type: 'dynamic', sizeBytes: 64 * MIB });
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function layer(name: string, parentPath: string): Promise<string> {
  const path = join(dataPath, 'disks', `${name}.avhdx`);
  await createVhd(path, { type: 'differencing', parentPath, allowParents: [folder] });
  return path;
}

/** Only what layers are made of. */
function definition(present: string, ...frozen: string[]): VmDefinition {
  const specification = (path: string): object => ({ hardDiskDrives: [{ id: DRIVE, path }], allowedParents: [] });
  const found: Partial<Record<keyof VmDefinition, unknown>> = {
    id: 'x',
    dataPath,
    specification: specification(present),
    snapshots: frozen.map((path) => ({ specification: specification(path) })),
    attached: { [DRIVE]: attached },
    parents: { [DRIVE]: [] },
  };
  return found as unknown as VmDefinition; // the rest of a definition plays no part here
}

describe('the layers of a machine', () => {
  it('are found from every named file down to the attached disk, which need not be named', async () => {
    const root = await layer('root', attached);
    const left = await layer('left', root);
    const right = await layer('right', root);
    const { parentOf, files } = await readForest(definition(left, right));
    expect([...files].sort()).toEqual([attached, left, right, root].sort());
    expect(parentOf.get(left)).toBe(root);
    expect(parentOf.get(root)).toBe(attached);
    expect(parentOf.has(attached)).toBe(false);
    expect(knownParents(definition(left, right))).toContain(attached);
    expect(namedLayers(definition(left, right))).toEqual(new Set([left, right]));
  });

  it('are refused where one of them leads to a file of somebody else', async () => {
    const foreign = join(folder, 'foreign.vhdx');
    await createVhd(foreign, { type: 'dynamic', sizeBytes: 64 * MIB });
    const astray = await layer('astray', foreign);
    await expect(readForest(definition(astray))).rejects.toMatchObject({
      code: 'corrupt',
      detail: { leadsTo: foreign },
    });
  });

  it('are the machine’s own only inside its folder, whatever the path looks like', () => {
    const machine = definition(attached);
    expect(isOwnLayer(machine, join(dataPath, 'disks', 'a.avhdx'))).toBe(true);
    for (const path of [`${dataPath}/disks/../../other.vhdx`, `${dataPath}/disks-not/a`, attached]) {
      expect(isOwnLayer(machine, path)).toBe(false);
    }
  });

  it('go with what named them, and never the attached disk', async () => {
    const root = await layer('root', attached);
    const left = await layer('left', root);
    const right = await layer('right', root);
    await dropAbandonedLayers(definition(left, right), definition(left));
    expect((await readForest(definition(left))).files).toEqual(new Set([left, root, attached]));
    await expect(realpath(right)).rejects.toMatchObject({ code: 'ENOENT' });
    await dropAbandonedLayers(definition(left), definition(attached));
    for (const gone of [left, root]) await expect(realpath(gone)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await realpath(attached)).toBe(attached);
  });
});
