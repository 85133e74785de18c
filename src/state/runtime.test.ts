import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RuntimeRecord, readRuntime, writeRuntime } from './runtime.ts';

const VM_ID = '0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d';
const RECORD: RuntimeRecord = {
  schemaVersion: 1,
  vmId: VM_ID,
  bootId: 'b',
  phase: 'running',
  resumeTo: 'running',
  qemu: { pid: 2, startTicks: 0 },
  worker: { pid: 3, startTicks: 0 },
  startedTime: '2026-01-01T00:00:00.000Z',
  acceleration: 'tcg',
  restores: false,
  pauseReason: null,
};
let folder: string;
let runFolder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-runtime-'));
  runFolder = join(folder, '0a1b2c3d4e5f');
  await mkdir(runFolder);
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('the runtime record', () => {
  it('is read back as it was written', async () => {
    await writeRuntime(runFolder, RECORD);
    expect(await readRuntime(runFolder)).toEqual(RECORD);
  });

  it.each([
    ['of another machine', { vmId: `1${VM_ID.slice(1)}` }],
    ['of something that is a path', { vmId: '../../../../etc/hv' }],
    ['whose id only begins like the folder', { vmId: `${VM_ID.slice(0, 18)}-/../../../x` }],
    ['that names the first process', { qemu: { pid: 1, startTicks: 0 } }],
    ['in an unknown phase', { phase: 'dancing' }],
  ])('is no record when it is one %s', async (_, change) => {
    await writeFile(join(runFolder, 'runtime.json'), JSON.stringify({ ...RECORD, ...change }));
    expect(await readRuntime(runFolder)).toBeUndefined();
  });

  it('is understood when a later hv wrote more, or an earlier one less', async () => {
    const { restores, ...less } = RECORD;
    await writeFile(join(runFolder, 'runtime.json'), JSON.stringify({ ...less, more: 1 }));
    expect(await readRuntime(runFolder)).toEqual({ ...RECORD, restores });
  });

  it('is not followed through a link', async () => {
    await writeFile(join(folder, 'elsewhere.json'), JSON.stringify(RECORD));
    await symlink(join(folder, 'elsewhere.json'), join(runFolder, 'runtime.json'));
    expect(await readRuntime(runFolder)).toBeUndefined();
  });
});
