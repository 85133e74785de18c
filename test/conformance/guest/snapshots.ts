import { access, readdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { HostFixture, MakeFixture } from '../fixture.ts';
import { boot, describeMachinesOf, inGuest, linuxMachine } from './machine.ts';

/** Snapshots under a living guest: memory and disk belong together, and deleting one changes no byte of what stays. */
export function describeLiveSnapshots(engine: string, make: MakeFixture): void {
  describe(`${engine}: snapshots of a running guest`, () => {
    let fixture: HostFixture;
    let id = '';
    beforeAll(async () => {
      fixture = await make();
      id = await linuxMachine(fixture, 'shot', { generation: 2, processorCount: 2, switchName: null });
      await boot(fixture, id);
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail') console.error(task.name, await describeMachinesOf(fixture));
    });
    afterAll(() => fixture.close());

    /** A mark in memory and one on the disk; the disk's fills a file with nothing else. */
    const mark = async (text: string): Promise<void> => {
      await inGuest(
        fixture,
        id,
        `echo ${text} >/run/mark; yes ${text} | head -n 40000 >/data/mark; cp /data/mark /data/only-${text}; sync`,
      );
    };
    const marks = async (): Promise<string[]> => {
      const found = await inGuest(
        fixture,
        id,
        'cat /run/mark; head -n 1 /data/mark; cd /data; echo $(sort -u mark | wc -l) $(ls | grep only); cd',
      );
      return found.split('\n');
    };
    /** Of what the guest reads from the disk itself, its cache emptied. */
    const checksum = async (): Promise<string> =>
      await inGuest(fixture, id, 'sync; echo 3 >/proc/sys/vm/drop_caches; cat /data/mark /data/only-* | md5sum');
    const snapshotNamed = async (name: string): Promise<string> => (await fixture.host.snapshots.resolve(id, name)).id;
    const apply = async (name: string): Promise<void> => fixture.host.snapshots.apply(id, await snapshotNamed(name));

    it('gives an adapter that is connected to nothing no address', async () => {
      expect(await inGuest(fixture, id, 'ls -d /sys/class/net/eth0')).toBe('/sys/class/net/eth0');
      expect(await fixture.host.vms.waitFor(id, 'ip', { timeoutMs: 1000 })).toBe(false);
    });

    it('keeps memory and disk of one moment while the guest runs on', async () => {
      const { snapshots, vms } = fixture.host;
      await mark('one');
      const { processes } = await vms.info(id);
      const snapshot = await snapshots.create(id, 'one');
      expect(snapshot).toMatchObject({ vmState: 'Running', parentId: null, isCurrent: true });
      expect(await vms.info(id)).toMatchObject({ state: 'Running', processes, snapshotCount: 1 });
      expect(await marks()).toEqual(['one', 'one', '1 only-one']);
      await mark('two');
      await apply('one');
      expect(await vms.info(id)).toMatchObject({ state: 'Saved', processes: null, currentSnapshotId: snapshot.id });
      await vms.start(id);
      expect(await marks()).toEqual(['one', 'one', '1 only-one']);
      expect(await checksum()).toBe(await inGuest(fixture, id, 'cat /data/mark /data/mark | md5sum'));
    });

    it('is taken twice of a paused guest, which stays paused', async () => {
      const { snapshots, vms } = fixture.host;
      await mark('three');
      await vms.pause(id);
      expect(await snapshots.create(id, 'three')).toMatchObject({ vmState: 'Paused', parentName: 'one' });
      expect((await vms.info(id)).state).toBe('Paused');
      expect(await snapshots.create(id, 'three again')).toMatchObject({ vmState: 'Paused', parentName: 'three' });
      expect((await vms.info(id)).state).toBe('Paused');
      await vms.resume(id);
      expect(await marks()).toEqual(['three', 'three', '1 only-one only-three']);
    });

    it('grows a tree under a living guest, and shows each branch as it was', async () => {
      const { snapshots, vms } = fixture.host;
      await mark('four');
      await apply('one');
      await vms.start(id);
      await mark('five');
      expect(await snapshots.create(id, 'five')).toMatchObject({ parentName: 'one', vmState: 'Running' });
      await mark('six');
      expect((await snapshots.list(id)).map((each) => [each.name, each.parentName])).toEqual([
        ['one', null],
        ['three', 'one'],
        ['three again', 'three'],
        ['five', 'one'],
      ]);
      await apply('three again');
      await vms.start(id);
      expect(await marks()).toEqual(['three', 'three', '1 only-one only-three']);
      await apply('five');
      await vms.start(id);
      expect(await marks()).toEqual(['five', 'five', '1 only-five only-one']);
    });

    it('is taken of a saved machine too', async () => {
      const { snapshots, vms } = fixture.host;
      await vms.save(id);
      expect(await snapshots.create(id, 'saved')).toMatchObject({ vmState: 'Saved', parentName: 'five' });
      expect((await vms.info(id)).state).toBe('Saved');
      await vms.start(id);
      expect(await marks()).toEqual(['five', 'five', '1 only-five only-one']);
      await mark('seven');
      await apply('saved');
      await vms.start(id);
      expect(await marks()).toEqual(['five', 'five', '1 only-five only-one']);
    });

    it('leaves the guest running and nothing behind when it is cancelled', async () => {
      const { snapshots, vms } = fixture.host;
      const before = await snapshots.list(id);
      const control = new AbortController();
      const taking = snapshots.create(id, 'cancelled', { signal: control.signal, onProgress: () => control.abort() });
      await expect(taking).rejects.toMatchObject({ code: 'aborted' });
      expect(await vms.waitFor(id, 'ready', { timeoutMs: 20_000 })).toBe(true);
      expect(await snapshots.list(id)).toEqual(before);
      await mark('eight');
      expect(await marks()).toEqual(['eight', 'eight', '1 only-eight only-five only-one']);
    });

    it('is deleted under the running and under the paused machine, and no byte of its disk changes', async () => {
      const { snapshots, vms } = fixture.host;
      const before = await checksum();
      const { processes } = await vms.info(id);
      await snapshots.delete(id, await snapshotNamed('five'));
      await vms.pause(id);
      await snapshots.delete(id, await snapshotNamed('one'));
      expect((await vms.info(id)).state).toBe('Paused');
      await vms.resume(id);
      expect(await checksum()).toBe(before);
      expect((await vms.info(id)).processes?.engine).toBe(processes?.engine);
    });

    it('is not deleted while the machine is saved', async () => {
      const { snapshots, vms } = fixture.host;
      await vms.save(id);
      const refused = snapshots.delete(id, await snapshotNamed('three'));
      await expect(refused).rejects.toMatchObject({ code: 'invalid-state' });
      await vms.start(id);
    });

    it('keeps every byte of the disk when snapshots around it are deleted and the guest boots at once', async () => {
      const { snapshots, vms } = fixture.host;
      const before = await checksum();
      await vms.stop(id, { timeoutMs: 60_000 });
      await snapshots.delete(id, await snapshotNamed('three'));
      await boot(fixture, id);
      expect(await checksum()).toBe(before);
      expect(await inGuest(fixture, id, 'ls /run/mark 2>/dev/null; dmesg | grep -c "EXT4-fs error" || :')).toBe('0');
      // The branch that was not current kept its own.
      await apply('three again');
      await vms.start(id);
      expect(await marks()).toEqual(['three', 'three', '1 only-one only-three']);
    });

    it('deletes a machine with its disks and everything that its snapshots kept', async () => {
      const { vms } = fixture.host;
      await vms.forceStop(id);
      const [attached] = await vms.diskPaths(id);
      const { hardDiskDrives, configurationPath } = await vms.info(id);
      const { deletedPaths } = await vms.delete(id, { withDisks: true });
      expect(deletedPaths).toEqual([attached]);
      for (const path of [attached, configurationPath, ...hardDiskDrives.map((drive) => drive.path)]) {
        await expect(access(path ?? '')).rejects.toMatchObject({ code: 'ENOENT' });
      }
      expect(await readdir(fixture.folder)).toContain('linux.vhdx');
      expect(await readdir(dirname(dirname(configurationPath)))).toEqual([]);
    });
  });
}
