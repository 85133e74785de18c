import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostFixture, MakeFixture } from '../fixture.ts';

/** What can be changed of a machine that is there. */
export function describeSettings(engine: string, make: MakeFixture): void {
  describe(`${engine}: settings of machines`, () => {
    let fixture: HostFixture;
    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(() => fixture.close());

    it('are changed together, and remembered', async () => {
      const { vms } = fixture.host;
      const { id } = await vms.create({ name: 'changed' });
      const info = await vms.set(id, {
        processorCount: 3,
        memoryBytes: 512 * 2 ** 20,
        notes: 'für Ann',
        groups: ['web', 'test'],
      });
      const expected = { processorCount: 3, memoryBytes: 512 * 2 ** 20, notes: 'für Ann', groups: ['web', 'test'] };
      expect(info).toMatchObject(expected);
      const other = await fixture.reopen();
      expect(await other.vms.info(id)).toEqual(info);
      await other.close();
    });

    it('are changed all or none, and not by a dry run', async () => {
      const { vms } = fixture.host;
      const { id } = await vms.create({ name: 'whole' });
      const before = await vms.info(id);
      await expect(vms.set(id, { notes: 'x', processorCount: 0 })).rejects.toMatchObject({ code: 'invalid-argument' });
      await expect(vms.set(id, { memoryBytes: 2 ** 42 })).rejects.toMatchObject({ code: 'no-space' });
      expect(await vms.set(id, { notes: 'x' }, { dryRun: true })).toEqual({ ...before, notes: 'x' });
      expect(await vms.info(id)).toEqual(before);
      await expect(vms.set(crypto.randomUUID(), {})).rejects.toMatchObject({ code: 'not-found' });
    });

    it('keep snapshots from being taken where they are disabled', async () => {
      const { vms, snapshots } = fixture.host;
      const { id } = await vms.create({ name: 'none' });
      await vms.set(id, { checkpointType: 'Disabled' });
      await expect(snapshots.create(id, 's')).rejects.toMatchObject({ code: 'invalid-state' });
      await vms.set(id, { checkpointType: 'Standard' });
      await snapshots.create(id, 's');
    });

    it('come back with a snapshot', async () => {
      const { vms, snapshots } = fixture.host;
      const { id } = await vms.create({ name: 'back', processorCount: 1 });
      const { id: snapshotId } = await snapshots.create(id, 'before');
      await vms.set(id, { processorCount: 2, notes: 'later' });
      await snapshots.apply(id, snapshotId);
      expect(await vms.info(id)).toMatchObject({ processorCount: 1, notes: '' });
    });

    it('that a running guest cannot change wait until it is off; the others do not', async () => {
      const { vms } = fixture.host;
      const { id } = await vms.create({ name: 'on', memoryBytes: 128 * 2 ** 20, newDiskSizeBytes: 2 ** 26 });
      const drive = (await vms.info(id)).hardDiskDrives[0];
      if (!drive) throw new Error('it has a disk');
      await vms.start(id);
      await expect(vms.set(id, { notes: 'n', processorCount: 1 })).rejects.toMatchObject({ code: 'invalid-state' });
      expect((await vms.info(id)).notes).toBe('');
      const bootOrder = [{ kind: 'HardDiskDrive', id: drive.id }] as const;
      expect(await vms.set(id, { notes: 'n', bootOrder })).toMatchObject({
        state: 'Running',
        notes: 'n',
        firmware: { bootOrder },
      });
      await vms.forceStop(id);
      expect((await vms.set(id, { processorCount: 1 })).processorCount).toBe(1);
    });
  });
}
