import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FaultFixture, faultFixture, MIB } from '../faults/fixture.ts';

describe('a machine whose disk is a VHD Set', () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  it('runs on the disk that the set has now, and leaves snapshots to the set', async () => {
    const { vms, disks, snapshots } = fixture.host;
    const set = join(fixture.folder, 'disk.vhds');
    const { leafPath } = await disks.createSet(set, { sizeBytes: 64 * MIB });
    const { id } = await vms.create({ name: 'set', generation: 1, memoryBytes: 64 * MIB, diskPath: set });
    expect((await disks.users(leafPath)).map(({ as }) => as)).toEqual(['parent']);
    await vms.start(id);
    await expect(disks.takeSetSnapshot(set)).rejects.toMatchObject({ code: 'in-use' });
    await expect(snapshots.create(id, 'one')).rejects.toMatchObject({ code: 'unsupported' });
    await vms.save(id);
    await expect(disks.takeSetSnapshot(set)).rejects.toMatchObject({ code: 'in-use', detail: { vm: 'set' } });
    await vms.start(id);
    await vms.forceStop(id);
    const taken = await disks.takeSetSnapshot(set);
    expect(taken.leafPath).not.toBe(leafPath);
    await vms.start(id);
    await expect(disks.resize(taken.leafPath, 128 * MIB)).rejects.toMatchObject({ code: 'in-use' });
    await vms.forceStop(id);
    await disks.applySetSnapshot(set, taken.snapshots[0]?.id ?? '');
    await vms.start(id);
    await vms.forceStop(id);
  });
});
