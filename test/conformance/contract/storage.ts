import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openVhd } from '../../../src/disk/index.ts';
import type { CreateVmOptions, DriveAddress } from '../../../src/model/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';

const MIB = 2 ** 20;
const NOBODY = '00000000-0000-4000-8000-000000000000';

const at = (controllerType: 'IDE' | 'SCSI', controllerNumber: number, controllerLocation: number): DriveAddress => ({
  controllerType,
  controllerNumber,
  controllerLocation,
});

/** An image of one volume descriptor: enough to be told from anything else. */
export function isoImage(label: string): Buffer {
  const image = Buffer.alloc(64 * 1024);
  image.write(`\x01CD001\x01${label}`, 16 * 2048, 'latin1');
  return image;
}

/** Drives of a machine that is off: addresses, what may be attached, and what is refused. */
export function describeStorage(engine: string, make: MakeFixture): void {
  describe(`${engine}: drives of a machine that is off`, () => {
    let fixture: HostFixture;
    let count = 0;
    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(() => fixture.close());

    const machine = async (options: Partial<CreateVmOptions> = {}): Promise<string> =>
      (await fixture.host.vms.create({ name: `drives ${count++}`, ...options })).id;
    const newDisk = async (): Promise<string> => {
      const path = join(fixture.folder, `disk-${count++}.vhdx`);
      await fixture.host.disks.create(path, { type: 'dynamic', sizeBytes: 16 * MIB });
      return path;
    };
    const newIso = async (): Promise<string> => {
      const path = join(fixture.folder, `image-${count++}.iso`);
      await writeFile(path, isoImage('HV'));
      return path;
    };
    const unchanged = async (id: string, attempt: Promise<unknown>, failure: object): Promise<void> => {
      await expect(attempt).rejects.toMatchObject(failure);
      const { hardDiskDrives, dvdDrives, scsiControllerCount } = await fixture.host.vms.info(id);
      expect({ disks: hardDiskDrives.length, dvds: dvdDrives.length, scsiControllerCount }).toEqual({
        disks: 0,
        dvds: 0,
        scsiControllerCount: 1,
      });
    };

    it('come at the first free place, or at the one that is named', async () => {
      const { storage } = fixture.host;
      const id = await machine();
      const first = await storage.addHardDiskDrive(id, { path: await newDisk() });
      expect(first).toMatchObject({ ...at('SCSI', 0, 0), vmId: id, isPhysical: false, sizeBytes: 16 * MIB });
      const last = await storage.addHardDiskDrive(id, { path: await newDisk(), ...at('SCSI', 0, 63) });
      expect(last).toMatchObject(at('SCSI', 0, 63));
      const dvd = await storage.addDvdDrive(id);
      expect(dvd).toMatchObject({ ...at('SCSI', 0, 1), path: null, warning: null });
      const between = await storage.addHardDiskDrive(id, { path: await newDisk(), controllerLocation: 2 });
      expect(between).toMatchObject(at('SCSI', 0, 2));
      const places = (await storage.hardDiskDrives(id)).map((drive) => drive.controllerLocation);
      expect(places).toEqual([0, 2, 63]);
      expect(await storage.dvdDrives(id)).toMatchObject([dvd]);
      const { hardDiskDrives } = await fixture.host.vms.info(id);
      expect(hardDiskDrives.map(({ path }) => path)).toEqual(
        (await storage.hardDiskDrives(id)).map(({ path }) => path),
      );
    });

    it('are on IDE first for Generation 1, whose DVD drives are nowhere else', async () => {
      const { storage } = fixture.host;
      const id = await machine({ generation: 1 });
      const places: string[] = [];
      for (let added = 0; added < 4; added++) {
        const drive = await storage.addHardDiskDrive(id, { path: await newDisk() });
        places.push(`${drive.controllerType} ${drive.controllerNumber}:${drive.controllerLocation}`);
      }
      expect(places).toEqual(['IDE 0:0', 'IDE 0:1', 'IDE 1:0', 'IDE 1:1']);
      expect(await storage.addHardDiskDrive(id, { path: await newDisk() })).toMatchObject(at('SCSI', 0, 0));
      await expect(storage.addDvdDrive(id)).rejects.toMatchObject({ code: 'invalid-state' });
      await expect(storage.addDvdDrive(id, { controllerType: 'SCSI' })).rejects.toMatchObject({
        code: 'invalid-argument',
      });
    });

    it('may have a disk that is made with them, and nothing of it stays when the drive cannot be', async () => {
      const { storage } = fixture.host;
      const id = await machine();
      const path = join(fixture.folder, 'made.vhdx');
      await expect(
        storage.addHardDiskDrive(id, { path, newSizeBytes: 32 * MIB, ...at('SCSI', 1, 0) }),
      ).rejects.toMatchObject({ code: 'invalid-argument' });
      await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
      const preview = await storage.addHardDiskDrive(id, { path, newSizeBytes: 32 * MIB, dryRun: true });
      expect(preview).toMatchObject({ ...at('SCSI', 0, 0), path, sizeBytes: 32 * MIB });
      await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
      const added = await storage.addHardDiskDrive(id, { path, newSizeBytes: 32 * MIB });
      expect(added).toMatchObject({ path, sizeBytes: 32 * MIB });
      const elsewhere = await storage.addHardDiskDrive(id, { newSizeBytes: 32 * MIB });
      expect(elsewhere.path).toMatch(/\.vhdx$/);
    });

    it('refuse places that the machine lacks, and those that are taken', async () => {
      const { storage } = fixture.host;
      const id = await machine();
      const path = await newDisk();
      for (const place of [
        at('SCSI', 1, 0),
        at('SCSI', 0, 64),
        at('IDE', 0, 0),
        at('SCSI', 0, -1),
        at('SCSI', 0, 0.5),
      ]) {
        await unchanged(id, storage.addHardDiskDrive(id, { path, ...place }), { code: 'invalid-argument' });
        await unchanged(id, storage.addDvdDrive(id, place), { code: 'invalid-argument' });
      }
      const gen1 = await machine({ generation: 1 });
      await unchanged(gen1, storage.addHardDiskDrive(gen1, { path, ...at('IDE', 2, 0) }), { code: 'invalid-argument' });
      await storage.addDvdDrive(id, at('SCSI', 0, 5));
      await expect(storage.addHardDiskDrive(id, { path, ...at('SCSI', 0, 5) })).rejects.toMatchObject({
        code: 'already-exists',
        hint: expect.any(String),
      });
      await expect(storage.addDvdDrive(id, at('SCSI', 0, 5))).rejects.toMatchObject({ code: 'already-exists' });
    });

    it('refuse a disk that a machine has, as a drive or under one, its own machine included', async () => {
      const { storage, disks } = fixture.host;
      const [one, other] = [await machine(), await machine()];
      const path = await newDisk();
      const child = join(fixture.folder, 'child.vhdx');
      await disks.create(child, { type: 'differencing', parentPath: path });
      await storage.addHardDiskDrive(one, { path: child });
      await unchanged(other, storage.addHardDiskDrive(other, { path: child }), { code: 'in-use', detail: { id: one } });
      await unchanged(other, storage.addHardDiskDrive(other, { path }), { code: 'in-use', detail: { id: one } });
      await expect(storage.addHardDiskDrive(one, { path: child })).rejects.toMatchObject({ code: 'in-use' });
      await storage.removeHardDiskDrive(one, at('SCSI', 0, 0));
      expect(await storage.addHardDiskDrive(other, { path: child })).toMatchObject({ path: child });
    });

    it.each([
      ['a file that is not there', (folder: string) => ({ path: join(folder, 'none.vhdx') }), 'not-found'],
      ['no file and no size', () => ({}), 'invalid-argument'],
      [
        'a bound below one',
        (folder: string) => ({ path: join(folder, 'x.vhdx'), qos: { maximumIops: 0 } }),
        'invalid-argument',
      ],
      [
        'a bound that is no number',
        (folder: string) => ({ path: join(folder, 'x.vhdx'), qos: { maximumBytesPerSecond: Number.NaN } }),
        'invalid-argument',
      ],
      [
        'more promised than allowed',
        (folder: string) => ({ path: join(folder, 'x.vhdx'), qos: { maximumIops: 5, minimumIops: 6 } }),
        'invalid-argument',
      ],
      [
        'a new disk of another format',
        (folder: string) => ({ path: join(folder, 'x.vhd'), newSizeBytes: 32 * MIB }),
        'invalid-argument',
      ],
    ] as const)('refuse %s', async (_what, options, code) => {
      const id = await machine();
      await unchanged(id, fixture.host.storage.addHardDiskDrive(id, options(fixture.folder)), { code });
    });

    it('go, and leave their files', async () => {
      const { storage } = fixture.host;
      const id = await machine();
      const path = await newDisk();
      await storage.addHardDiskDrive(id, { path });
      await expect(storage.removeHardDiskDrive(id, at('SCSI', 0, 1))).rejects.toMatchObject({ code: 'not-found' });
      expect(await storage.removeHardDiskDrive(id, at('SCSI', 0, 0), { dryRun: true })).toMatchObject({ path });
      expect(await storage.hardDiskDrives(id)).toHaveLength(1);
      await storage.removeHardDiskDrive(id, at('SCSI', 0, 0));
      expect(await storage.hardDiskDrives(id)).toEqual([]);
      expect(await fixture.host.disks.users(path)).toEqual([]);
      const disk = await openVhd(path);
      await disk.close();
    });

    it('get bounds, and another disk', async () => {
      const { storage, disks } = fixture.host;
      const id = await machine();
      const [path, next] = [await newDisk(), await newDisk()];
      const drive = await storage.addHardDiskDrive(id, { path, qos: { maximumIops: 100, minimumIops: 10 } });
      expect(drive.qos).toEqual({ maximumIops: 100, minimumIops: 10, maximumBytesPerSecond: null });
      const bounded = await storage.setHardDiskDrive(id, drive, {
        qos: { maximumBytesPerSecond: MIB, minimumIops: null },
      });
      expect(bounded.qos).toEqual({ maximumIops: 100, minimumIops: null, maximumBytesPerSecond: MIB });
      await expect(storage.setHardDiskDrive(id, drive, { qos: { minimumIops: 101 } })).rejects.toMatchObject({
        code: 'invalid-argument',
      });
      await expect(storage.setHardDiskDrive(id, drive, { path })).rejects.toMatchObject({ code: 'in-use' });
      const replaced = await storage.setHardDiskDrive(id, drive, { path: next });
      expect(replaced).toMatchObject({ id: drive.id, path: next, attachedPath: next, qos: bounded.qos });
      expect(await disks.users(path)).toEqual([]);
      await expect(storage.setHardDiskDrive(id, at('SCSI', 3, 3), {})).rejects.toMatchObject({ code: 'not-found' });
    });

    it('take an image and give it back', async () => {
      const { storage } = fixture.host;
      const id = await machine();
      const [one, two] = [await newIso(), await newIso()];
      await expect(storage.mountIso(id, one)).rejects.toMatchObject({ code: 'not-found', hint: expect.any(String) });
      const first = await storage.addDvdDrive(id, { path: one });
      const second = await storage.addDvdDrive(id);
      expect(first).toMatchObject({ path: one, warning: null });
      expect(await storage.mountIso(id, two)).toMatchObject({ id: first.id, path: two });
      expect(await storage.mountIso(id, two, { address: second })).toMatchObject({ id: second.id, path: two });
      expect(await storage.ejectIso(id, { dryRun: true })).toMatchObject({ path: null });
      expect((await storage.dvdDrives(id)).map(({ path }) => path)).toEqual([two, two]);
      expect(await storage.ejectIso(id)).toMatchObject({ id: first.id, path: null });
      expect(await storage.ejectIso(id)).toMatchObject({ id: first.id, path: null });
      await storage.removeDvdDrive(id, second);
      expect(await storage.dvdDrives(id)).toMatchObject([{ id: first.id, path: null }]);
      await expect(storage.removeDvdDrive(id, second)).rejects.toMatchObject({ code: 'not-found' });
    });

    it('warn of what is no disc image, and refuse what cannot be one', async () => {
      const { storage } = fixture.host;
      const id = await machine();
      const odd = join(fixture.folder, 'odd.iso');
      await writeFile(odd, Buffer.alloc(4096));
      expect((await storage.addDvdDrive(id, { path: odd, dryRun: true })).warning).toMatch(/ISO 9660/);
      const cut = join(fixture.folder, 'cut.iso');
      await writeFile(cut, isoImage('x').subarray(0, 40_001));
      for (const [path, code] of [
        [join(fixture.folder, 'none.iso'), 'not-found'],
        [fixture.folder, 'invalid-argument'],
        [cut, 'invalid-argument'],
        ['/dev/null', 'invalid-argument'],
      ] as const) {
        await unchanged(id, storage.addDvdDrive(id, { path }), { code });
      }
      await writeFile(cut, '');
      await unchanged(id, storage.addDvdDrive(id, { path: cut }), { code: 'invalid-argument' });
    });

    it('have one to four SCSI controllers to be on, and keep the one that they are on', async () => {
      const { storage } = fixture.host;
      const id = await machine();
      expect(await storage.removeScsiController(id)).toBe(0);
      await expect(storage.removeScsiController(id)).rejects.toMatchObject({ code: 'invalid-state' });
      await expect(storage.addDvdDrive(id)).rejects.toMatchObject({ code: 'invalid-state', hint: expect.any(String) });
      for (const wanted of [1, 2, 3, 4]) expect(await storage.addScsiController(id)).toBe(wanted);
      await expect(storage.addScsiController(id)).rejects.toMatchObject({ code: 'invalid-state' });
      await storage.addDvdDrive(id, { controllerNumber: 3 });
      await expect(storage.removeScsiController(id)).rejects.toMatchObject({ code: 'invalid-state' });
      await storage.removeDvdDrive(id, at('SCSI', 3, 0));
      expect(await storage.removeScsiController(id, { dryRun: true })).toBe(3);
      expect((await fixture.host.vms.info(id)).scsiControllerCount).toBe(4);
    });

    it('are put where a guest without drivers of its own finds them, or not at all', async () => {
      const { storage } = fixture.host;
      const id = await machine({ guest: 'windows' });
      expect(await storage.addHardDiskDrive(id, { path: await newDisk() })).toMatchObject(at('SCSI', 0, 0));
      expect(await storage.addDvdDrive(id, at('SCSI', 0, 5))).toMatchObject(at('SCSI', 0, 5));
      const path = await newDisk();
      await expect(storage.addHardDiskDrive(id, { path, ...at('SCSI', 0, 6) })).rejects.toMatchObject({
        code: 'unsupported',
        hint: expect.any(String),
      });
    });

    it('come back with a snapshot that had them, whose files nobody may have meanwhile', async () => {
      const { storage, snapshots, disks, vms } = fixture.host;
      const id = await machine();
      const [kept, gone, late] = [await newDisk(), await newDisk(), await newDisk()];
      await storage.addHardDiskDrive(id, { path: kept });
      const drive = await storage.addHardDiskDrive(id, { path: gone });
      await write(gone, fixture.folder, 'a');
      const before = await snapshots.create(id, 'with both');
      const layer = (await storage.hardDiskDrives(id))[1]?.path ?? '';
      expect((await storage.hardDiskDrives(id))[1]).toMatchObject({ attachedPath: gone });
      await write(layer, fixture.folder, 'b');
      await expect(storage.removeHardDiskDrive(id, drive)).rejects.toMatchObject({ code: 'invalid-state' });
      await expect(storage.setHardDiskDrive(id, drive, { path: late })).rejects.toMatchObject({
        code: 'invalid-state',
      });
      await storage.removeHardDiskDrive(id, drive, { discardChanges: true });
      await expect(readFile(layer)).rejects.toMatchObject({ code: 'ENOENT' });
      await expect(storage.addHardDiskDrive(id, { path: gone })).rejects.toMatchObject({ code: 'in-use' });
      await storage.addHardDiskDrive(id, { path: late });
      await snapshots.apply(id, before.id);
      const restored = await storage.hardDiskDrives(id);
      expect(restored.map(({ attachedPath }) => attachedPath)).toEqual([kept, gone]);
      expect(await read(restored[1]?.path ?? '', fixture.folder)).toBe('a');
      expect(await disks.users(late)).toEqual([]);
      await storage.removeHardDiskDrive(id, drive, { discardChanges: true });
      await snapshots.delete(id, before.id);
      expect(await disks.users(gone)).toEqual([]);
      expect(await read(gone, fixture.folder)).toBe('a');
      await vms.delete(id);
    });

    it('are asked of a machine that there is', async () => {
      const { storage } = fixture.host;
      const iso = await newIso();
      const calls: (() => Promise<unknown>)[] = [
        () => storage.hardDiskDrives(NOBODY),
        () => storage.addHardDiskDrive(NOBODY, { newSizeBytes: 32 * MIB }),
        () => storage.removeHardDiskDrive(NOBODY, at('SCSI', 0, 0)),
        () => storage.setHardDiskDrive(NOBODY, at('SCSI', 0, 0), {}),
        () => storage.dvdDrives(NOBODY),
        () => storage.addDvdDrive(NOBODY),
        () => storage.removeDvdDrive(NOBODY, at('SCSI', 0, 0)),
        () => storage.mountIso(NOBODY, iso),
        () => storage.ejectIso(NOBODY),
        () => storage.addScsiController(NOBODY),
        () => storage.removeScsiController(NOBODY),
      ];
      for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'not-found' });
    });
  });
}

async function write(path: string, folder: string, text: string): Promise<void> {
  const disk = await openVhd(path, { allowParents: [folder] });
  const data = Buffer.alloc(4096, text);
  disk.write(MIB, data, 0, data.length);
  await disk.close();
}

async function read(path: string, folder: string): Promise<string> {
  const disk = await openVhd(path, { readOnly: true, allowParents: [folder] });
  const data = Buffer.alloc(1);
  disk.read(MIB, data, 0, 1);
  await disk.close();
  return data.toString('latin1');
}
