import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openVhd } from '../../../src/disk/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';
import { boot, describeMachinesOf, inGuest, linuxMachine } from './machine.ts';

const MIB = 2 ** 20;

/** Changed blocks under a guest that writes: what is copied by them is the disk, to the last byte. */
export function describeChangedBlocks(engine: string, make: MakeFixture): void {
  describe(`${engine}: changed blocks of a running guest's disk`, () => {
    let fixture: HostFixture;
    let id = '';
    let disk = '';
    let leaf = '';
    let copy = '';
    let lastId = '';
    beforeAll(async () => {
      fixture = await make();
      id = await linuxMachine(fixture, 'tracked', { switchName: null });
      disk = join(fixture.folder, 'tracked.vhdx');
      leaf = disk;
      copy = join(fixture.folder, 'copy.raw');
      lastId = (await fixture.host.disks.enableChangeTracking(disk)).mostRecentId ?? '';
      await boot(fixture, id);
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail') console.error(task.name, await describeMachinesOf(fixture));
    });
    afterAll(() => fixture.close());

    const changedBytes = async (since: string): Promise<number> => {
      const { ranges } = await fixture.host.disks.queryChanges(leaf, since);
      return ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
    };
    const backup = async (sinceId?: string): Promise<number> => {
      const result = await fixture.host.disks.backup(leaf, copy, { sinceId, allowParents: [fixture.folder] });
      lastId = result.changeTrackingId ?? '';
      return result.copiedBytes;
    };

    it('are what the guest wrote since an id was made', async () => {
      const { disks } = fixture.host;
      expect(await changedBytes(lastId)).toBeGreaterThan(0); // it booted
      await inGuest(fixture, id, 'sync');
      const quiet = await disks.takeReferencePoint(disk);
      await inGuest(fixture, id, 'head -c 3000000 /dev/urandom >/data/three; sync');
      expect(await changedBytes(quiet)).toBeGreaterThan(3_000_000);
      expect(await disks.changeTracking(disk)).toMatchObject({
        enabled: true,
        newerChanges: true,
        mostRecentId: quiet,
      });
    });

    it('are copied while the guest goes on writing, each copy one moment', async () => {
      await inGuest(
        fixture,
        id,
        '{ (while [ ! -e /run/enough ]; do head -c 400000 /dev/urandom >/data/busy; sync; done) >/dev/null 2>&1 & }',
      );
      expect(await backup()).toBeGreaterThan(10 * MIB);
      const copied = await backup(lastId);
      expect(copied).toBeGreaterThan(0);
      expect(copied).toBeLessThan(100 * MIB);
      await backup(lastId);
    });

    it('go on over a snapshot, in the file that it puts on the disk', async () => {
      await fixture.host.snapshots.create(id, 'one');
      leaf = (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';
      expect(leaf).not.toBe(disk);
      await backup(lastId);
      await inGuest(fixture, id, 'head -c 1000000 /dev/urandom >/data/after; touch /run/enough; sync');
      await backup(lastId);
    });

    it('leave nothing out: after the last of them the copy is the disk', async () => {
      await inGuest(fixture, id, 'head -c 500000 /dev/urandom >/data/last; sync');
      await fixture.host.vms.forceStop(id);
      await backup(lastId);
      await using source = await openVhd(leaf, { readOnly: true, allowParents: [fixture.folder] });
      await using target = await openVhd(copy, { readOnly: true });
      expect(target.sizeBytes).toBe(source.sizeBytes);
      const [one, other] = [Buffer.alloc(MIB), Buffer.alloc(MIB)];
      for (let offset = 0; offset < source.sizeBytes; offset += MIB) {
        const length = Math.min(MIB, source.sizeBytes - offset);
        source.read(offset, one, 0, length);
        target.read(offset, other, 0, length);
        if (!one.subarray(0, length).equals(other.subarray(0, length))) throw new Error(`they differ near ${offset}`);
      }
    });
  });
}
