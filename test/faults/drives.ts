import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll, sleep } from '../../src/async/index.ts';
import { openVhd } from '../../src/disk/index.ts';
import { EngineContext } from '../../src/engines/qemu/context.ts';
import { SOCKETS } from '../../src/engines/qemu/sockets.ts';
import { order } from '../../src/engines/qemu/worker/client.ts';
import { isHvError } from '../../src/errors/index.ts';
import type { DriveAddress } from '../../src/model/index.ts';
import { vmPaths } from '../../src/state/index.ts';
import { isoImage } from '../conformance/contract/storage.ts';
import { pidsOf } from '../conformance/qemu-home.ts';
import {
  command,
  type FaultFixture,
  faultFixture,
  killAll,
  killAndWait,
  MIB,
  readDefinition,
  settled,
} from './fixture.ts';

const FIRST: DriveAddress = { controllerType: 'SCSI', controllerNumber: 0, controllerLocation: 0 };
/**
 * Drives under a QEMU that runs its firmware: whoever dies, it has in the end what the definition says.
 * @param momentsMs after the beginning of an order, when its worker is killed
 */
export function describeDriveFaults(momentsMs: readonly number[]): void {
  describe('drives of a running machine', () => {
    let fixture: FaultFixture;
    let id = '';
    let count = 0;
    beforeAll(async () => {
      fixture = await faultFixture();
      ({ id } = await fixture.host.vms.create({
        name: 'running',
        generation: 1,
        memoryBytes: 64 * MIB,
        processorCount: 1,
        switchName: null,
      }));
      await fixture.host.vms.start(id);
    });
    afterAll(() => fixture.close());

    const newDisk = async (): Promise<string> => {
      const path = join(fixture.folder, `disk-${count++}.vhdx`);
      await fixture.host.disks.create(path, { type: 'dynamic', sizeBytes: 16 * MIB });
      return path;
    };

    /** Connections to the worker's disks: QEMU makes one for each disk and image that it is given. */
    const connections = async (): Promise<number> => {
      const socket = `${vmPaths(fixture.paths, id).run}/${SOCKETS.nbd}`;
      const lines = (await readFile('/proc/net/unix', 'utf8')).split('\n');
      return lines.filter((line) => line.endsWith(` ${socket}`) && / 03 +\d+ /.test(line)).length;
    };
    const defined = async (): Promise<number> =>
      (await readDefinition(fixture, id)).specification.hardDiskDrives.length;
    /** What QEMU itself writes of its drives when it is saved is what the definition says; and it goes on from there. */
    const matches = async (): Promise<void> => {
      await fixture.host.vms.save(id);
      const { savedState, specification, dataPath } = await readDefinition(fixture, id);
      const state = await readFile(join(dataPath, savedState?.file ?? ''), 'latin1');
      const saved = [...state.matchAll(/"name": "[^"]*\/0:(\d+):0\/scsi-disk"/g)].map(([, location]) =>
        Number(location),
      );
      await fixture.host.vms.start(id);
      expect(saved).toEqual(specification.hardDiskDrives.map(({ controllerLocation }) => controllerLocation));
    };
    const removeAll = async (): Promise<void> => {
      for (const drive of await fixture.host.storage.hardDiskDrives(id))
        await fixture.host.storage.removeHardDiskDrive(id, drive);
      expect(await connections()).toBe(0);
    };

    it('come and go, and their files are free again', async () => {
      const { storage } = fixture.host;
      const path = await newDisk();
      const drive = await storage.addHardDiskDrive(id, { path });
      expect(drive).toMatchObject(FIRST); // IDE has free places, but not while it runs
      await matches();
      expect(await connections()).toBe(1);
      await expect(openVhd(path)).rejects.toMatchObject({ code: 'in-use' });
      await matches();
      await storage.removeHardDiskDrive(id, drive);
      await matches();
      const disk = await openVhd(path);
      await disk.close();
      await matches();
    });

    it('come and go while it is paused', async () => {
      await fixture.host.vms.pause(id);
      const drive = await fixture.host.storage.addHardDiskDrive(id, { path: await newDisk() });
      expect(await connections()).toBe(1);
      await fixture.host.storage.removeHardDiskDrive(id, drive);
      expect(await connections()).toBe(0);
      expect((await fixture.host.vms.info(id)).state).toBe('Paused');
      await fixture.host.vms.resume(id);
    });

    it('are refused where they cannot be, and nothing changes', async () => {
      const { storage, vms } = fixture.host;
      const path = await newDisk();
      const before = await readDefinition(fixture, id);
      const ide = { controllerType: 'IDE' } as const;
      for (const attempt of [
        () => storage.addHardDiskDrive(id, { path, ...ide }),
        () => storage.addDvdDrive(id),
        () => storage.addScsiController(id),
        () => storage.removeScsiController(id),
      ]) {
        await expect(attempt()).rejects.toMatchObject({ code: 'invalid-state', hint: expect.any(String) });
      }
      await vms.save(id);
      await expect(storage.addHardDiskDrive(id, { path })).rejects.toMatchObject({ code: 'invalid-state' });
      await expect(storage.removeHardDiskDrive(id, FIRST)).rejects.toMatchObject({ code: 'invalid-state' });
      await vms.start(id);
      expect((await readDefinition(fixture, id)).specification).toEqual(before.specification);
    });

    it('keep their disk while it runs, and get new bounds', async () => {
      const { storage } = fixture.host;
      const drive = await storage.addHardDiskDrive(id, { path: await newDisk(), qos: { maximumIops: 50 } });
      await expect(storage.setHardDiskDrive(id, drive, { path: await newDisk() })).rejects.toMatchObject({
        code: 'invalid-state',
      });
      const { qos } = await storage.setHardDiskDrive(id, drive, {
        qos: { maximumIops: null, maximumBytesPerSecond: MIB },
      });
      expect(qos).toEqual({ maximumIops: null, minimumIops: null, maximumBytesPerSecond: MIB });
      await matches();
      await removeAll();
    });

    it.each(momentsMs)('are there or not, whole, when the worker is killed %d ms into an addition', async (delayMs) => {
      const { storage } = fixture.host;
      const path = await newDisk();
      const adding = storage.addHardDiskDrive(id, { path }).then(
        () => true,
        (error: unknown) => {
          expect(isHvError(error), String(error)).toBe(true);
          return false;
        },
      );
      await sleep(delayMs);
      await killAndWait(fixture, 'worker');
      const isAdded = await adding;
      expect((await settled(fixture, id)).state).toBe('Running');
      await matches();
      expect(await defined()).toBe(isAdded ? 1 : 0);
      await matches();
      await removeAll();
    });

    it.each(momentsMs)('are there or not, whole, when the worker is killed %d ms into a removal', async (delayMs) => {
      const { storage } = fixture.host;
      const path = await newDisk();
      const drive = await storage.addHardDiskDrive(id, { path });
      const removing = storage.removeHardDiskDrive(id, drive).catch((error: unknown) => {
        expect(isHvError(error), String(error)).toBe(true);
      });
      await sleep(delayMs / 10); // it is over in a moment
      killAll(pidsOf(fixture.home, 'worker'));
      await removing;
      expect((await settled(fixture, id)).state).toBe('Running');
      await matches();
      await removeAll();
    });

    it('that were removed but not decided on come back with the next worker; those decided on stay away', async () => {
      const context = new EngineContext(fixture.paths);
      await fixture.host.storage.addHardDiskDrive(id, { path: await newDisk() });
      const definition = await readDefinition(fixture, id);
      const without = { ...definition.specification, hardDiskDrives: [] };
      for (const isDecided of [false, true]) {
        const decision = await context.store.lockDecision(id);
        await using worker = await context.worker(id);
        await worker.call(order({ op: 'apply-settings', specification: without }));
        await poll(async () => ((await connections()) === 0 ? true : undefined), {
          timeoutMs: 5000,
          doing: 'unplugging',
        });
        await killAndWait(fixture, 'worker');
        await sleep(1000); // long enough for a successor that does not wait
        if (isDecided) await context.store.save({ ...definition, specification: without });
        decision.release();
        expect((await readDefinition(fixture, id)).specification.hardDiskDrives).toHaveLength(isDecided ? 0 : 1);
        await matches();
      }
      await matches();
    });

    it('that a killed command left behind are there once a new worker looks', async () => {
      for (const killAfterMs of [300, 500, 700]) {
        const path = await newDisk();
        await command(fixture, ['disk', 'add', 'running', path], { killAfterMs });
        await settled(fixture, id);
        await killAndWait(fixture, 'worker');
        await matches();
      }
      await matches();
      await removeAll();
    });

    it('that QEMU refuses are nowhere: not in the definition, and their file is free', async () => {
      const { storage } = fixture.host;
      const context = new EngineContext(fixture.paths);
      const definition = await readDefinition(fixture, id);
      // A controller that the running machine has not: QEMU finds no place to plug the drive in.
      const { specification } = definition;
      const claimed = { ...definition, specification: { ...specification, scsiControllerCount: 2 } };
      await context.store.save(claimed);
      const path = await newDisk();
      await expect(storage.addHardDiskDrive(id, { path, controllerNumber: 1 })).rejects.toMatchObject({
        code: 'process-failed',
      });
      expect(await readDefinition(fixture, id)).toEqual(claimed);
      const disk = await openVhd(path);
      await disk.close();
      await context.store.save(definition);
      await matches();
    });

    it('wait for a backup that is under way: its moment would be lost with the worker', async () => {
      const { storage, disks } = fixture.host;
      const context = new EngineContext(fixture.paths);
      const path = await newDisk();
      await disks.enableChangeTracking(path);
      const drive = await storage.addHardDiskDrive(id, { path });
      const next = await newDisk();
      {
        await using worker = await context.worker(id);
        await worker.call(order({ op: 'begin-backup', driveId: drive.id, sinceId: null }));
        await expect(storage.addHardDiskDrive(id, { path: next })).rejects.toMatchObject({ code: 'in-use' });
        expect(await storage.hardDiskDrives(id)).toHaveLength(1);
      }
      await storage.addHardDiskDrive(id, { path: next });
      await removeAll();
    });

    it('take images and give them back, also when the worker dies in between', async () => {
      const { storage, vms } = fixture.host;
      await vms.forceStop(id);
      await storage.addDvdDrive(id);
      await vms.start(id);
      for (const label of ['one', 'two']) await writeFile(join(fixture.folder, `${label}.iso`), isoImage(label));
      const mount = (label: string): Promise<unknown> => storage.mountIso(id, join(fixture.folder, `${label}.iso`));
      await mount('one');
      expect(await connections()).toBe(1);
      await mount('two');
      await mount('two');
      expect(await connections()).toBe(1);
      for (const delayMs of momentsMs) {
        const mounting = mount(delayMs % 200 === 0 ? 'one' : 'two').catch((error: unknown) => {
          expect(isHvError(error), String(error)).toBe(true);
        });
        await sleep(delayMs);
        await killAndWait(fixture, 'worker');
        await mounting;
        expect((await settled(fixture, id)).state).toBe('Running');
      }
      await matches();
      await storage.ejectIso(id);
      expect(await connections()).toBe(0);
    });

    it('whose image was deleted keep a machine from starting, but not one that runs from a new worker', async () => {
      const { storage, vms } = fixture.host;
      const path = join(fixture.folder, 'gone.iso');
      await writeFile(path, isoImage('gone'));
      await storage.mountIso(id, path);
      await rm(path);
      await killAndWait(fixture, 'worker');
      await poll(async () => (pidsOf(fixture.home, 'worker').length > 0 ? true : undefined), {
        timeoutMs: 10_000,
        doing: 'waiting for a new worker',
      });
      await vms.pause(id);
      await vms.resume(id);
      expect((await settled(fixture, id)).state).toBe('Running');
      await vms.forceStop(id);
      await expect(vms.start(id)).rejects.toMatchObject({ code: 'not-found', detail: { path } });
      expect((await storage.dvdDrives(id))[0]?.warning).toMatch(/cannot read/);
      await storage.ejectIso(id);
      await vms.start(id);
    });
  });
}
