import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openVhd } from '../../../src/disk/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';

const MIB = 2 ** 20;

/** Snapshots of a machine that is off: the tree and the disks, no guest needed. */
export function describeSnapshots(engine: string, make: MakeFixture): void {
  describe(`${engine}: snapshots of a machine that is off`, () => {
    let fixture: HostFixture;
    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(() => fixture.close());

    const machine = async (name: string): Promise<{ id: string; path: string }> => {
      const path = join(fixture.folder, `${name}.vhdx`);
      const { id } = await fixture.host.vms.create({ name, diskPath: path, newDiskSizeBytes: 64 * MIB });
      return { id, path };
    };
    const drivePath = async (id: string): Promise<string> =>
      (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';
    /** What a guest would have done: a mark in the present disk. */
    const mark = async (id: string, at: number, text: string): Promise<void> => {
      const disk = await openVhd(await drivePath(id), { allowParents: [fixture.folder] });
      const data = Buffer.alloc(4096, text);
      disk.write(at * MIB, data, 0, data.length);
      await disk.close();
    };
    const marks = async (path: string, ...at: number[]): Promise<string[]> => {
      const disk = await openVhd(path, { readOnly: true, allowParents: [fixture.folder] });
      const found = at.map((place) => {
        const data = Buffer.alloc(4096);
        disk.read(place * MIB, data, 0, data.length);
        return data[0] === 0 ? '' : String.fromCharCode(data[0] ?? 0);
      });
      await disk.close();
      return found;
    };

    it('keeps what was there and shows it again', async () => {
      const { id, path } = await machine('one');
      await mark(id, 1, 'a');
      const snapshot = await fixture.host.snapshots.create(id, 'first');
      expect(snapshot).toMatchObject({
        name: 'first',
        vmId: id,
        vmName: 'one',
        type: 'Standard',
        parentId: null,
        vmState: 'Off',
        isCurrent: true,
      });
      expect(await drivePath(id)).not.toBe(path);
      await mark(id, 1, 'b');
      await mark(id, 2, 'c');
      expect(await marks(await drivePath(id), 1, 2)).toEqual(['b', 'c']);
      await fixture.host.snapshots.apply(id, snapshot.id);
      expect(await marks(await drivePath(id), 1, 2)).toEqual(['a', '']);
      expect((await fixture.host.vms.info(id)).state).toBe('Off');
    });

    it('grows a tree: branches keep their own contents, and say their parents', async () => {
      const { id } = await machine('tree');
      const { snapshots } = fixture.host;
      await mark(id, 1, 'r');
      const root = await snapshots.create(id, 'root');
      await mark(id, 2, 'x');
      const left = await snapshots.create(id, 'left');
      await snapshots.apply(id, root.id);
      await mark(id, 2, 'y');
      const right = await snapshots.create(id, 'right');
      const list = await snapshots.list(id);
      expect(list.map((each) => [each.name, each.parentName, each.isCurrent])).toEqual([
        ['root', null, false],
        ['left', 'root', false],
        ['right', 'root', true],
      ]);
      await snapshots.apply(id, left.id);
      expect(await marks(await drivePath(id), 1, 2)).toEqual(['r', 'x']);
      await snapshots.apply(id, right.id);
      expect(await marks(await drivePath(id), 1, 2)).toEqual(['r', 'y']);
    });

    it('deletes from the middle, the branch and the root, and merges back to the attached disk', async () => {
      const { id, path } = await machine('pruned');
      const { snapshots } = fixture.host;
      await mark(id, 1, 'a');
      const first = await snapshots.create(id, 'first');
      await mark(id, 2, 'b');
      const second = await snapshots.create(id, 'second');
      await mark(id, 3, 'c');
      const third = await snapshots.create(id, 'third');
      await snapshots.apply(id, second.id);
      await mark(id, 4, 'd');
      await snapshots.delete(id, second.id);
      expect(await marks(await drivePath(id), 1, 2, 3, 4)).toEqual(['a', 'b', '', 'd']);
      expect((await snapshots.list(id)).map((each) => [each.name, each.parentName])).toEqual([
        ['first', null],
        ['third', 'first'],
      ]);
      await snapshots.apply(id, third.id);
      expect(await marks(await drivePath(id), 1, 2, 3, 4)).toEqual(['a', 'b', 'c', '']);
      await snapshots.delete(id, first.id);
      await snapshots.delete(id, third.id);
      expect(await drivePath(id)).toBe(path);
      expect(await marks(path, 1, 2, 3, 4)).toEqual(['a', 'b', 'c', '']);
    });

    it('leaves the present state in the attached disk when the machine is deleted', async () => {
      const { id, path } = await machine('leaves its present');
      await mark(id, 1, 'a');
      await fixture.host.snapshots.create(id, 'old');
      await mark(id, 1, 'n');
      await fixture.host.vms.delete(id);
      expect(await marks(path, 1)).toEqual(['n']);
    });

    it('finds snapshots by name and id, refuses a name twice, wrong names and unknown ones', async () => {
      const { id } = await machine('named');
      const { snapshots } = fixture.host;
      const { id: snapshotId } = await snapshots.create(id, 'Before Update');
      expect((await snapshots.resolve(id, 'before update')).id).toBe(snapshotId);
      expect((await snapshots.resolve(id, snapshotId)).name).toBe('Before Update');
      await expect(snapshots.create(id, 'before UPDATE')).rejects.toMatchObject({ code: 'already-exists' });
      await expect(snapshots.create(id, 'a/b')).rejects.toMatchObject({ code: 'invalid-argument' });
      await expect(snapshots.resolve(id, 'nothing')).rejects.toMatchObject({ code: 'not-found' });
      await expect(snapshots.apply(id, id)).rejects.toMatchObject({ code: 'not-found' });
      expect(await snapshots.list(id)).toHaveLength(1);
    });

    it('refuses a type that the engine does not offer', async () => {
      const { id } = await machine('typed');
      const { snapshotTypes } = await fixture.host.capabilities();
      for (const type of ['Production', 'ProductionOnly'] as const) {
        if (snapshotTypes.includes(type)) continue;
        await expect(fixture.host.snapshots.create(id, 'p', { type })).rejects.toMatchObject({ code: 'unsupported' });
      }
    });
  });
}
