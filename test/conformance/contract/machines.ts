import { access, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HvErrorCode } from '../../../src/errors/index.ts';
import type { CreateVmOptions } from '../../../src/model/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';

const MIB = 2 ** 20;

/** Awkward but legal names: every script, quotes, apostrophes, what shells and query languages trip over. */
const LEGAL_NAMES = [
  "Bob's VM",
  'with "double" quotes',
  'tab-less  two spaces',
  'Ωμέγα',
  'виртуальная машина',
  '虚拟机',
  'آلة',
  '🙂 emoji',
  '$(reboot); `id` %PATH% && x|y',
  "'; DROP TABLE vms; --",
  'comma,equals=colon:',
  '-starts-with-dash',
  'e\u0301 combining',
  'x'.repeat(100),
];

const ILLEGAL_NAMES = [
  '',
  '   ',
  '.',
  '..',
  'a/b',
  'a\\b',
  'line\nbreak',
  'nul\0',
  'esc\u001b[31m',
  'bidi\u202etxt',
  'x'.repeat(101),
  'half \ud800',
];

const ILLEGAL_SIZES: readonly (readonly [string, Partial<CreateVmOptions>])[] = [
  ['no memory', { memoryBytes: 0 }],
  ['negative memory', { memoryBytes: -1 }],
  ['a fraction of memory', { memoryBytes: 64 * MIB + 0.5 }],
  ['endless memory', { memoryBytes: Number.POSITIVE_INFINITY }],
  ['absurd memory', { memoryBytes: 2 ** 52 }],
  ['no number as memory', { memoryBytes: Number.NaN }],
  ['no processor', { processorCount: 0 }],
  ['negative processors', { processorCount: -2 }],
  ['half a processor', { processorCount: 1.5 }],
  ['absurd processors', { processorCount: 100_000 }],
  ['a third generation', { generation: 3 as 2 }],
  ['an unknown guest', { guest: 'beos' as 'linux' }],
];

/** Definitions of machines: what every engine does alike, no guest needed. */
export function describeMachines(engine: string, make: MakeFixture): void {
  describe(`${engine}: machines`, () => {
    let fixture: HostFixture;
    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(() => fixture.close());

    const create = (options: CreateVmOptions): Promise<{ readonly id: string }> => fixture.host.vms.create(options);
    const refused = async (work: Promise<unknown>, code: HvErrorCode): Promise<void> => {
      await expect(work).rejects.toMatchObject({ name: 'HvError', code });
    };

    it('creates a machine with defaults, lists it and says everything about it', async () => {
      const { id } = await create({ name: 'plain' });
      const info = await fixture.host.vms.info(id);
      expect(info).toMatchObject({
        id,
        name: 'plain',
        state: 'Off',
        generation: 2,
        guest: 'linux',
        processorCount: 2,
        memoryBytes: 2048 * MIB,
        uptimeSeconds: 0,
        snapshotCount: 0,
        currentSnapshotId: null,
        heartbeat: null,
        processes: null,
      });
      expect(info.networkAdapters).toHaveLength(1);
      expect(info.networkAdapters[0]?.switchName).toBe('Default Switch');
      expect(info.networkAdapters[0]?.macAddress).toMatch(/^00:15:5d(:[0-9a-f]{2}){3}$/);
      expect((await fixture.host.vms.list()).map((vm) => vm.id)).toContain(id);
    });

    it('finds a machine by name whatever its case, and by id', async () => {
      const { id } = await create({ name: 'Find Me' });
      expect((await fixture.host.vms.resolve('find me')).id).toBe(id);
      expect((await fixture.host.vms.resolve(id)).name).toBe('Find Me');
      expect((await fixture.host.vms.resolve(id.toUpperCase())).id).toBe(id);
      await refused(fixture.host.vms.resolve('nobody'), 'not-found');
    });

    it.each(LEGAL_NAMES)('takes the name %j, keeps it, and finds it again', async (name) => {
      const { id } = await create({ name, memoryBytes: 64 * MIB });
      const other = await fixture.reopen();
      expect((await other.vms.resolve(name)).id).toBe(id);
      expect((await other.vms.info(id)).name).toBe(name.normalize('NFC'));
      await other.close();
      await fixture.host.vms.delete(id);
    });

    it.each(ILLEGAL_NAMES)('refuses the name %j and leaves nothing behind', async (name) => {
      const before = await fixture.host.vms.list();
      await refused(create({ name }), 'invalid-argument');
      expect(await fixture.host.vms.list()).toEqual(before);
    });

    it.each(ILLEGAL_SIZES)('refuses %s', async (_what, options) => {
      const before = await fixture.host.vms.list();
      await refused(create({ name: 'wrong size', ...options }), 'invalid-argument');
      expect(await fixture.host.vms.list()).toEqual(before);
    });

    it('refuses a name twice, whatever its case, and says who has it', async () => {
      const { id } = await create({ name: 'Twin' });
      await expect(create({ name: 'tWIN' })).rejects.toMatchObject({ code: 'already-exists', detail: { id } });
    });

    it('creates nothing when checking only', async () => {
      const before = await fixture.host.vms.list();
      await fixture.host.vms.checkCreate({ name: 'only checked', newDiskSizeBytes: 64 * MIB });
      await refused(fixture.host.vms.checkCreate({ name: 'a/b' }), 'invalid-argument');
      expect(await fixture.host.vms.list()).toEqual(before);
    });

    it('creates a machine with a new disk, and deletes both when asked', async () => {
      const { id } = await create({ name: 'with disk', newDiskSizeBytes: 64 * MIB });
      const [path] = await fixture.host.vms.diskPaths(id);
      expect(await fixture.host.disks.info(path ?? '')).toMatchObject({
        format: 'vhdx',
        type: 'dynamic',
        virtualSizeBytes: 64 * MIB,
      });
      expect(await fixture.host.vms.delete(id, { withDisks: true })).toEqual({ deletedPaths: [path] });
      await expect(access(path ?? '')).rejects.toThrow();
    });

    it('keeps the disk of a machine that is deleted without it', async () => {
      const path = join(fixture.folder, 'kept.vhdx');
      const { id } = await create({ name: 'leaves its disk', diskPath: path, newDiskSizeBytes: 64 * MIB });
      await fixture.host.vms.delete(id);
      await access(path);
      await refused(fixture.host.vms.info(id), 'not-found');
    });

    it('gives a Generation 1 machine its disk on IDE, a Generation 2 machine on SCSI', async () => {
      for (const [generation, controllerType] of [
        [1, 'IDE'],
        [2, 'SCSI'],
      ] as const) {
        const { id } = await create({ name: `generation ${generation}`, generation, newDiskSizeBytes: 64 * MIB });
        expect((await fixture.host.vms.info(id)).hardDiskDrives).toMatchObject([
          { controllerType, controllerNumber: 0, controllerLocation: 0 },
        ]);
      }
    });

    it('refuses a disk that is missing, foreign, damaged or taken, and creates nothing', async () => {
      const missing = join(fixture.folder, 'missing.vhdx');
      await refused(create({ name: 'd1', diskPath: missing }), 'not-found');
      const foreign = join(fixture.folder, 'foreign.vhdx');
      await writeFile(foreign, Buffer.alloc(4 * MIB, 'not a disk '));
      await refused(create({ name: 'd2', diskPath: foreign }), 'corrupt');
      const path = join(fixture.folder, 'taken.vhdx');
      await create({ name: 'owner', diskPath: path, newDiskSizeBytes: 64 * MIB });
      await expect(create({ name: 'd3', diskPath: path })).rejects.toMatchObject({
        code: 'in-use',
        detail: { vm: 'owner' },
      });
      await refused(create({ name: 'd4', diskPath: path, newDiskSizeBytes: 64 * MIB }), 'already-exists');
      const names = (await fixture.host.vms.list()).map((vm) => vm.name);
      expect(names).not.toEqual(expect.arrayContaining(['d1']));
      expect(names.filter((name) => /^d\d$/.test(name))).toEqual([]);
    });

    it('refuses to write to the parent of another machine’s disk', async () => {
      const parentPath = join(fixture.folder, 'parent.vhdx');
      const child = join(fixture.folder, 'child.vhdx');
      await fixture.host.disks.create(parentPath, { type: 'dynamic', sizeBytes: 64 * MIB });
      await fixture.host.disks.create(child, { type: 'differencing', parentPath });
      await create({ name: 'on a child', diskPath: child });
      await refused(create({ name: 'on its parent', diskPath: parentPath }), 'in-use');
    });

    it('refuses an unknown switch', async () => {
      await refused(create({ name: 'unplugged', switchName: 'no such switch' }), 'not-found');
    });

    it('renames, refuses a taken name, and allows a change of case', async () => {
      const { id } = await create({ name: 'before' });
      await create({ name: 'occupied' });
      await fixture.host.vms.rename(id, 'after');
      expect((await fixture.host.vms.resolve('AFTER')).id).toBe(id);
      await refused(fixture.host.vms.resolve('before'), 'not-found');
      await refused(fixture.host.vms.rename(id, 'Occupied'), 'already-exists');
      await refused(fixture.host.vms.rename(id, '..'), 'invalid-argument');
      await fixture.host.vms.rename(id, 'After');
      expect((await fixture.host.vms.info(id)).name).toBe('After');
    });

    it('says which moves an Off machine cannot make', async () => {
      const { id } = await create({ name: 'sleeping' });
      const { vms } = fixture.host;
      await refused(vms.pause(id), 'invalid-state');
      await refused(vms.resume(id), 'invalid-state');
      await refused(vms.save(id), 'invalid-state');
      await refused(vms.reset(id), 'invalid-state');
      await refused(vms.console(id), 'invalid-state');
      await refused(vms.screenshot(id), 'invalid-state');
      await vms.stop(id);
      await vms.forceStop(id);
      expect(await vms.waitFor(id, 'off', { timeoutMs: 1000 })).toBe(true);
      expect(await vms.waitFor(id, 'ready', { timeoutMs: 1000 })).toBe(false);
    });

    it('answers not-found for a machine that does not exist, everywhere', async () => {
      const id = '00000000-0000-4000-8000-000000000000';
      const { vms, snapshots, guest } = fixture.host;
      const questions: readonly (() => Promise<unknown>)[] = [
        () => vms.info(id),
        () => vms.start(id),
        () => vms.stop(id),
        () => vms.forceStop(id),
        () => vms.pause(id),
        () => vms.resume(id),
        () => vms.save(id),
        () => vms.reset(id),
        () => vms.delete(id),
        () => vms.rename(id, 'x'),
        () => vms.logs(id),
        () => vms.console(id),
        () => vms.screenshot(id),
        () => vms.diskPaths(id),
        () => vms.waitFor(id, 'off', { timeoutMs: 100 }),
        () => snapshots.list(id),
        () => snapshots.create(id, 's'),
        () => snapshots.apply(id, id),
        () => snapshots.delete(id, id),
        () => guest.heartbeat(id),
        () => guest.ipAddresses(id),
      ];
      for (const ask of questions) await refused(ask(), 'not-found');
    });

    it('lets only one of two simultaneous creations have a name', async () => {
      const other = await fixture.reopen();
      const results = await Promise.allSettled([create({ name: 'raced' }), other.vms.create({ name: 'Raced' })]);
      expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
      await other.close();
    });
  });
}
