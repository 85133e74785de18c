import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../../src/async/index.ts';
import type { HardDiskDriveInfo } from '../../../src/host/index.ts';
import { isoImage } from '../contract/storage.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';
import { writeBootImage } from './boot-image.ts';
import { BOOT_MS, boot, describeMachinesOf, inGuest, linuxMachine, template } from './machine.ts';

const MIB = 2 ** 20;

/** Drives under a running guest: what it sees, reads and writes. */
export function describeDrives(
  engine: string,
  make: MakeFixture,
  generation: 1 | 2,
  options: { readonly isLong?: boolean } = {},
): void {
  describe(`${engine}: drives under a running Generation ${generation} guest`, () => {
    let fixture: HostFixture;
    let id = '';
    let drive: HardDiskDriveInfo;
    let sum = '';
    beforeAll(async () => {
      fixture = await make();
      id = await linuxMachine(fixture, 'drives', { generation, switchName: null });
      await fixture.host.storage.addDvdDrive(id);
      await boot(fixture, id);
    }, BOOT_MS + 60_000);
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail') console.error(task.name, await describeMachinesOf(fixture));
    });
    afterAll(() => fixture.close());

    const guest = (command: string): Promise<string> => inGuest(fixture, id, command);
    /** The disk of 48 MiB, by its sectors. */
    const added = 'grep -lx 98304 /sys/block/sd*/size 2>/dev/null | cut -d/ -f4';
    const name = (): Promise<string> =>
      poll(async () => (await guest(added)) || undefined, { timeoutMs: 15_000, doing: 'waiting for the disk' });

    it('a disk that is added is there at once, and keeps what is written', async () => {
      drive = await fixture.host.storage.addHardDiskDrive(id, {
        path: join(fixture.folder, 'data.vhdx'),
        newSizeBytes: 48 * MIB,
      });
      expect(drive).toMatchObject({ controllerType: 'SCSI', sizeBytes: 48 * MIB });
      const disk = await name();
      sum = await guest(`dd if=/dev/urandom of=/dev/${disk} bs=1M count=8 2>/dev/null; sync; md5sum </dev/${disk}`);
      expect(sum).toMatch(/^[0-9a-f]{32}/);
      await fixture.host.vms.save(id);
      await fixture.host.vms.start(id);
      expect(await guest(`echo 3 >/proc/sys/vm/drop_caches; md5sum </dev/${await name()}`)).toBe(sum);
    });

    if (options.isLong) {
      it('bounds hold at once, and end at once', async () => {
        const { storage } = fixture.host;
        const disk = await name();
        const read = `dd if=/dev/${disk} of=/dev/null bs=1M count=16 iflag=direct 2>/dev/null`;
        const timed = async (): Promise<number> => {
          const [from = 0, to = 0] = (await guest(`cut -d' ' -f1 /proc/uptime; ${read}; cut -d' ' -f1 /proc/uptime`))
            .split('\n')
            .map(Number);
          return to - from;
        };
        const free = await timed();
        await storage.setHardDiskDrive(id, drive, { qos: { maximumBytesPerSecond: 4 * MIB } });
        const byBytes = await timed();
        // 16 MiB are 2048 operations of 8 KiB.
        await storage.setHardDiskDrive(id, drive, { qos: { maximumBytesPerSecond: null, maximumIops: 512 } });
        const byOperations = await timed();
        await storage.setHardDiskDrive(id, drive, { qos: { maximumIops: null } });
        const freeAgain = await timed();
        process.stdout.write(`16 MiB: ${free} s; 4 MiB/s: ${byBytes} s; 512 IOPS: ${byOperations} s; ${freeAgain} s\n`);
        for (const bounded of [byBytes, byOperations]) {
          expect(bounded).toBeGreaterThan(2.5); // a burst of a second is let through
          expect(bounded).toBeGreaterThan(freeAgain);
        }
      });
    }

    it('an image is there when it is mounted, and gone when it is ejected', async () => {
      const { storage } = fixture.host;
      const read = (): Promise<string> =>
        guest('dd if=/dev/sr0 bs=2048 skip=16 count=1 2>&1 | tr -d "\\000\\001" | head -c 40');
      for (const label of ['FIRST', 'SECOND']) {
        const path = join(fixture.folder, `${label}.iso`);
        await writeFile(path, isoImage(label));
        expect(await storage.mountIso(id, path)).toMatchObject({ path, warning: null });
        await poll(async () => ((await read()).startsWith(`CD001${label}`) ? true : undefined), {
          timeoutMs: 15_000,
          doing: `waiting for ${label}`,
        });
      }
      await storage.ejectIso(id);
      expect(await read()).toMatch(/No medium/);
    });

    if (generation === 2) {
      it('a DVD drive comes with its image, and goes with it', async () => {
        const { storage } = fixture.host;
        const path = join(fixture.folder, 'with.iso');
        await writeFile(path, isoImage('WITH'));
        const dvd = await storage.addDvdDrive(id, { path });
        expect(dvd).toMatchObject({ controllerType: 'SCSI', path });
        await poll(async () => ((await guest('ls /sys/block')).includes('sr1') ? true : undefined), {
          timeoutMs: 15_000,
          doing: 'waiting for the second DVD drive',
        });
        const read = 'dd if=/dev/sr1 bs=2048 skip=16 count=1 2>&1 | tr -d "\\000\\001" | head -c 9';
        expect(await guest(read)).toBe('CD001WITH');
        await storage.removeDvdDrive(id, dvd);
        await poll(async () => ((await guest('ls /sys/block')).includes('sr1') ? undefined : true), {
          timeoutMs: 15_000,
          doing: 'waiting for the second DVD drive to go',
        });
        expect(await storage.dvdDrives(id)).toHaveLength(1);
      });
    }

    it('a disk that is removed is gone, and its file holds what was written', async () => {
      const { storage, disks } = fixture.host;
      const disk = await name();
      await guest(`sync; blockdev --flushbufs /dev/${disk}`);
      await storage.removeHardDiskDrive(id, drive);
      await poll(async () => ((await guest(added)) === '' ? true : undefined), {
        timeoutMs: 15_000,
        doing: 'waiting for the disk to go',
      });
      const again = await storage.addHardDiskDrive(id, { path: drive.path });
      expect(again).toMatchObject({ path: drive.path });
      expect(await guest(`md5sum </dev/${await name()}`)).toBe(sum);
      await storage.removeHardDiskDrive(id, again);
      expect(await disks.users(drive.path)).toEqual([]);
    });
  });
}

/** A machine without a disk starts from the image in its DVD drive. */
export function describeDvdBoot(engine: string, make: MakeFixture): void {
  describe(`${engine}: a machine with nothing but a DVD drive`, () => {
    it('boots from the image in it', { timeout: 300_000 }, async () => {
      const fixture = await make();
      try {
        const path = join(fixture.folder, 'boot.iso');
        await writeBootImage(path, await template(fixture));
        const { id } = await fixture.host.vms.create({
          name: 'disc',
          memoryBytes: 256 * MIB,
          processorCount: 1,
          switchName: null,
        });
        expect(await fixture.host.storage.addDvdDrive(id, { path })).toMatchObject({ warning: null });
        await boot(fixture, id);
        expect(await inGuest(fixture, id, 'ls /sys/block')).toMatch(/^sr0\s*$/);
      } finally {
        await fixture.close();
      }
    });
  });
}
