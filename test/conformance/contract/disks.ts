import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openVhd } from '../../../src/disk/index.ts';
import type { HvErrorCode } from '../../../src/errors/index.ts';
import type { CreateVmOptions } from '../../../src/model/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';

const MIB = 2 ** 20;
/** The most files that a chain may have. */
const DEEPEST = 64;

/** Which disks a machine may have: parents, locks, formats, other machines' disks. */
export function describeDisks(engine: string, make: MakeFixture): void {
  describe(`${engine}: disks of machines`, () => {
    let fixture: HostFixture;
    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(() => fixture.close());

    let count = 0;
    const create = (options: Partial<CreateVmOptions>): Promise<{ readonly id: string }> =>
      fixture.host.vms.create({ name: `machine ${++count}`, memoryBytes: 64 * MIB, processorCount: 1, ...options });
    /** All of them, less what passes by itself. */
    const machines = async (): Promise<object[]> =>
      (await fixture.host.vms.list()).map((vm) => ({ ...vm, uptimeSeconds: null }));
    const refused = async (options: Partial<CreateVmOptions>, code: HvErrorCode, detail = {}): Promise<void> => {
      const before = await machines();
      await expect(create(options)).rejects.toMatchObject({ name: 'HvError', code, detail });
      await expect(
        fixture.host.vms.checkCreate({ name: 'only checked', memoryBytes: 64 * MIB, ...options }),
      ).rejects.toMatchObject({ code });
      expect(await machines()).toEqual(before);
    };
    const disk = async (...path: string[]): Promise<string> => {
      const full = join(fixture.folder, ...path);
      await fixture.host.disks.create(full, { type: 'dynamic', sizeBytes: 64 * MIB });
      return full;
    };
    const child = async (parentPath: string, ...path: string[]): Promise<string> => {
      const full = join(fixture.folder, ...path);
      await fixture.host.disks.create(full, { type: 'differencing', parentPath });
      return full;
    };

    it('takes a parent that lies elsewhere only where the machine’s definition allows it', async () => {
      for (const name of ['base', 'leaf', 'unrelated']) await mkdir(join(fixture.folder, name));
      const parentPath = await disk('base', 'parent.vhdx');
      const diskPath = await child(parentPath, 'leaf', 'leaf.vhdx');
      await refused({ diskPath }, 'permission-denied', { parentPath });
      await refused({ diskPath, allowedParents: [join(fixture.folder, 'unrelated')] }, 'permission-denied');
      const { id } = await create({ diskPath, allowedParents: [parentPath] });
      const { id: snapshotId } = await fixture.host.snapshots.create(id, 'above');
      await fixture.host.snapshots.apply(id, snapshotId);
      await fixture.host.snapshots.delete(id, snapshotId);
      expect((await fixture.host.vms.info(id)).hardDiskDrives[0]?.path).toBe(diskPath);
      const second = await child(parentPath, 'leaf', 'second.vhdx');
      await create({ diskPath: second, allowedParents: [join(fixture.folder, 'base')] });
    });

    it('takes a parent below the disk’s own folder without being told', async () => {
      await mkdir(join(fixture.folder, 'templates'));
      await create({ diskPath: await child(await disk('templates', 'near.vhdx'), 'above.vhdx') });
    });

    it('refuses a disk that somebody else has open, and takes it afterwards', async () => {
      const diskPath = await disk('held.vhdx');
      const holder = await openVhd(diskPath);
      await refused({ diskPath }, 'in-use', { path: diskPath });
      await holder.close();
      await create({ diskPath });
    });

    it('refuses a disk whose parent was written to since', async () => {
      const parentPath = await disk('touched.vhdx');
      const diskPath = await child(parentPath, 'orphan.vhdx');
      const parent = await openVhd(parentPath);
      parent.write(0, Buffer.alloc(4096, 1), 0, 4096);
      await parent.close();
      await refused({ diskPath }, 'parent-changed', { path: diskPath, parentPath });
    });

    it('takes a raw disk by its name, and never guesses one', async () => {
      const raw = join(fixture.folder, 'plain.img');
      await writeFile(raw, Buffer.alloc(2 * MIB));
      const { id } = await create({ diskPath: raw });
      expect((await fixture.host.vms.info(id)).hardDiskDrives[0]?.path).toBe(raw);
      await expect(fixture.host.snapshots.create(id, 'of raw')).rejects.toMatchObject({ code: 'unsupported' });
      expect(await fixture.host.snapshots.list(id)).toEqual([]);
      const qcow2 = Buffer.concat([Buffer.from('QFI\xfb\0\0\0\x03', 'latin1'), Buffer.alloc(2 * MIB)]);
      const files = [
        ['foreign.qcow2', qcow2, 'unsupported'],
        ['renamed.vhdx', qcow2, 'corrupt'],
        ['no ending', qcow2, 'unsupported'],
        ['old.vhd', Buffer.alloc(MIB), 'corrupt'],
        ['empty.vhdx', Buffer.alloc(0), 'corrupt'],
      ] as const;
      for (const [name, bytes, code] of files) {
        await writeFile(join(fixture.folder, name), bytes);
        await refused({ diskPath: join(fixture.folder, name) }, code);
      }
    });

    it('takes a VHD as it takes a VHDX: the layers of its snapshots are VHD files too', async () => {
      const { disks, snapshots, vms } = fixture.host;
      const diskPath = join(fixture.folder, 'machine.vhd');
      await disks.create(diskPath, { type: 'dynamic', sizeBytes: 64 * MIB });
      const { id } = await create({ diskPath, generation: 1 });
      const layer = async (): Promise<string> => (await vms.info(id)).hardDiskDrives[0]?.path ?? '';
      const offline = await snapshots.create(id, 'offline');
      expect(await layer()).toMatch(/\.avhd$/);
      expect(await disks.info(await layer())).toMatchObject({
        format: 'vhd',
        type: 'differencing',
        parentPath: diskPath,
      });
      if ((await fixture.host.capabilities()).guestExecution) {
        await vms.start(id);
        const below = await layer();
        const live = await snapshots.create(id, 'live');
        expect((await vms.info(id)).state).toBe('Running');
        expect(await layer()).toMatch(/\.avhd$/);
        expect(await layer()).not.toBe(below);
        await vms.forceStop(id);
        expect(await disks.info(await layer())).toMatchObject({
          format: 'vhd',
          type: 'differencing',
          parentPath: below,
        });
        await snapshots.delete(id, live.id);
        expect(await layer()).toBe(below);
      }
      await snapshots.apply(id, offline.id);
      await snapshots.delete(id, offline.id);
      expect(await layer()).toBe(diskPath);
      expect(await disks.check(diskPath)).toMatchObject({ isSound: true });
    });

    it('refuses what is no regular file', async () => {
      const folder = join(fixture.folder, 'folder.vhdx');
      await mkdir(folder);
      const device = join(fixture.folder, 'device.vhdx');
      await symlink('/dev/zero', device);
      await refused({ diskPath: folder }, 'invalid-argument');
      await refused({ diskPath: device }, 'unsupported'); // a link is what it leads to, and that has no format's name
    });

    it(`takes a chain of ${DEEPEST} files and no deeper one`, async () => {
      await mkdir(join(fixture.folder, 'chain'));
      let path = await disk('chain', '1.vhdx');
      for (let depth = 2; depth <= DEEPEST; depth++) path = await child(path, 'chain', `${depth}.vhdx`);
      const { id } = await create({ diskPath: path });
      await fixture.host.vms.delete(id);
      const deeper = join(fixture.folder, 'chain', 'too deep.vhdx');
      const made = await fixture.host.disks
        .create(deeper, { type: 'differencing', parentPath: path })
        .then(() => true)
        .catch((error: unknown) => {
          expect(error).toMatchObject({ code: 'unsupported' });
          return false;
        });
      if (made) await refused({ diskPath: deeper }, 'unsupported');
    });

    it('refuses every file that stands under another machine’s snapshots', async () => {
      const diskPath = join(fixture.folder, 'snapped.vhdx');
      const { id } = await create({ diskPath, newDiskSizeBytes: 64 * MIB });
      const { snapshots } = fixture.host;
      const root = await snapshots.create(id, 'root');
      await snapshots.create(id, 'left');
      await snapshots.apply(id, root.id);
      await snapshots.create(id, 'right');
      await refused({ diskPath }, 'in-use', { id });
      const { hardDiskDrives } = await fixture.host.vms.info(id);
      await refused({ diskPath: hardDiskDrives[0]?.path ?? '' }, 'in-use', { id });
      // Without the root nothing names the file any more, but two branches stand on it.
      await snapshots.delete(id, root.id);
      await refused({ diskPath }, 'in-use', { id });
      expect(await fixture.host.vms.diskPaths(id)).toEqual([diskPath]);
      expect((await fixture.host.disks.users(diskPath)).map((user) => user.id)).toEqual([id]);
    });

    it('refuses the disk of a running, a paused and a saved machine', async () => {
      if (!(await fixture.host.capabilities()).guestExecution) return;
      const { vms } = fixture.host;
      const diskPath = join(fixture.folder, 'busy.vhdx');
      const { id } = await create({ diskPath, newDiskSizeBytes: 64 * MIB, generation: 1 });
      await vms.start(id);
      await refused({ diskPath }, 'in-use', { id });
      const onTop = join(fixture.folder, 'on top.vhdx');
      await expect(
        fixture.host.disks.create(onTop, { type: 'differencing', parentPath: diskPath }),
      ).rejects.toMatchObject({ code: 'in-use' });
      await vms.pause(id);
      await refused({ diskPath }, 'in-use', { id });
      await vms.save(id);
      await refused({ diskPath }, 'in-use', { id });
      await vms.forceStop(id);
    });

    it('does not start on a disk that is held, missing or damaged, and stays as it was', async () => {
      if (!(await fixture.host.capabilities()).guestExecution) return;
      const { vms } = fixture.host;
      const diskPath = join(fixture.folder, 'held at start.vhdx');
      const { id } = await create({ diskPath, newDiskSizeBytes: 64 * MIB, generation: 1 });
      const holder = await openVhd(diskPath);
      await expect(vms.start(id)).rejects.toMatchObject({ code: 'in-use' });
      expect(await vms.info(id)).toMatchObject({ state: 'Off', processes: null });
      await holder.close();
      await vms.start(id);
      await vms.forceStop(id);
      await writeFile(diskPath, 'damaged');
      await expect(vms.start(id)).rejects.toMatchObject({ code: 'corrupt' });
      await vms.delete(id, { withDisks: true });
      const missing = join(fixture.folder, 'soon gone.vhdx');
      const gone = await create({ diskPath: missing, newDiskSizeBytes: 64 * MIB });
      await fixture.host.vms.delete(gone.id, { withDisks: true });
      await refused({ diskPath: missing }, 'not-found');
    });

    it('keeps hosts apart: two of them may have machines and disks of the same names', async () => {
      const other = await make();
      try {
        const { id } = await create({ name: 'namesake', newDiskSizeBytes: 64 * MIB });
        const twin = await other.host.vms.create({ name: 'namesake', newDiskSizeBytes: 64 * MIB });
        expect((await other.host.vms.list()).map((vm) => vm.id)).toEqual([twin.id]);
        await expect(other.host.vms.info(id)).rejects.toMatchObject({ code: 'not-found' });
        await other.host.vms.delete(twin.id, { withDisks: true });
        expect((await fixture.host.vms.resolve('NameSake')).id).toBe(id);
      } finally {
        await other.close();
      }
    });
  });
}
