import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { openVhd } from '../../src/disk/index.ts';
import { hv } from '../cli/built.ts';
import { dataFiles, type FaultFixture, faultFixture, killAndWait, MIB, readDefinition } from '../faults/fixture.ts';

const DISK_MIB = 256;

/** Machines without a system: their disks are filled while they are off, and merged while they run. */
describe('commands on the disk of a running machine that are killed', () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  const drivePath = async (id: string): Promise<string> =>
    (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';
  const openDisk = async (id: string, readOnly: boolean): ReturnType<typeof openVhd> =>
    openVhd(await drivePath(id), { readOnly, allowParents: [fixture.folder] });
  const scribble = async (id: string, first: number): Promise<void> => {
    await using disk = await openDisk(id, false);
    const data = randomBytes(MIB);
    for (let at = first; at < DISK_MIB; at += 2) {
      data.writeUInt32LE(at, 0);
      disk.write(at * MIB, data, 0, MIB);
      if (at % 5 === 0) disk.writeZeroes(at * MIB, MIB / 2, true);
    }
  };
  const checksum = async (id: string): Promise<string> => {
    await using disk = await openDisk(id, true);
    const hash = createHash('sha256');
    const data = Buffer.alloc(MIB);
    for (let at = 0; at < DISK_MIB; at++) {
      disk.read(at * MIB, data, 0, MIB);
      hash.update(data);
    }
    return hash.digest('hex');
  };
  const machine = async (name: string): Promise<{ readonly id: string; readonly diskPath: string }> => {
    const diskPath = join(fixture.folder, `${name}.vhdx`);
    const { id } = await fixture.host.vms.create({
      name,
      generation: 1,
      memoryBytes: 64 * MIB,
      diskPath,
      newDiskSizeBytes: DISK_MIB * MIB,
    });
    return { id, diskPath };
  };

  it.each(['one', 'two'])(
    'leave a merge that the next command finishes, under the running machine: %s',
    async (which) => {
      const { id, diskPath } = await machine(`killed ${which}`);
      await fixture.host.snapshots.create(id, 'one');
      await scribble(id, 0);
      if (which === 'one') await fixture.host.snapshots.create(id, 'two');
      await scribble(id, 1);
      const before = await checksum(id);
      await fixture.host.vms.start(id);
      const { processes } = await fixture.host.vms.info(id);
      await hv(['snapshot', 'delete', `killed ${which}`, 'one'], {
        env: { HV_HOME: fixture.home },
        onStart: (child) => {
          const isMerging = async (): Promise<true | undefined> =>
            (await readDefinition(fixture, id)).pending !== null || child.exitCode !== null ? true : undefined;
          void poll(isMerging, { timeoutMs: 20_000, intervalMs: 1, doing: 'waiting for the merge' }).then(() =>
            setTimeout(() => child.kill('SIGKILL'), 15),
          );
        },
      });
      expect((await readDefinition(fixture, id)).pending).not.toBeNull();
      expect((await fixture.host.vms.info(id)).state).toBe('Running');
      // Any change of the machine's snapshots goes on with it first.
      const { id: third } = await fixture.host.snapshots.create(id, 'three');
      expect((await readDefinition(fixture, id)).pending).toBeNull();
      await killAndWait(fixture, 'worker');
      await fixture.host.snapshots.delete(id, third);
      for (const snapshot of await fixture.host.snapshots.list(id))
        await fixture.host.snapshots.delete(id, snapshot.id);
      expect((await fixture.host.vms.info(id)).processes?.engine).toBe(processes?.engine);
      expect(await drivePath(id)).toBe(diskPath);
      await fixture.host.vms.forceStop(id);
      expect((await dataFiles(fixture, id)).disks).toEqual([]);
      expect(await checksum(id)).toBe(before);
    },
  );

  it('leave a mirror that the next command waits for, and that ends with the machine', async () => {
    const { id, diskPath } = await machine('mirrored');
    await scribble(id, 0);
    const before = await checksum(id);
    const mirrorPath = join(fixture.folder, 'the mirror.vhdx');
    await expect(fixture.host.disks.mirror(diskPath, mirrorPath)).rejects.toMatchObject({ code: 'invalid-state' });
    await fixture.host.vms.start(id);
    await expect(fixture.host.disks.breakMirror(diskPath)).rejects.toMatchObject({ code: 'invalid-state' });
    await hv(['vhd', 'mirror', diskPath, mirrorPath], {
      env: { HV_HOME: fixture.home },
      onStart: (child) => {
        const isMirroring = async (): Promise<true | undefined> =>
          (await readDefinition(fixture, id)).mirrors !== undefined || child.exitCode !== null ? true : undefined;
        void poll(isMirroring, { timeoutMs: 20_000, intervalMs: 1, doing: 'waiting for the mirror' }).then(() =>
          child.kill('SIGKILL'),
        );
      },
    });
    const waited = await hv(['vhd', 'mirror', diskPath, mirrorPath, '--json'], { env: { HV_HOME: fixture.home } });
    expect(waited.status).toBe(0);
    expect(JSON.parse(waited.stdout)).toMatchObject({ mirrorPath, state: 'synchronized' });
    const elsewhere = fixture.host.disks.mirror(diskPath, join(fixture.folder, 'another.vhdx'));
    await expect(elsewhere).rejects.toMatchObject({ code: 'in-use' });
    await fixture.host.snapshots.create(id, 'in the way');
    const switching = fixture.host.disks.breakMirror(diskPath, { switchToMirror: true });
    await expect(switching).rejects.toMatchObject({ code: 'invalid-state' });
    await fixture.host.vms.forceStop(id);
    expect((await fixture.host.disks.hash(mirrorPath)).hash).toBe(before);
    await fixture.host.vms.start(id);
    expect((await readDefinition(fixture, id)).mirrors).toBeUndefined();
    await fixture.host.vms.forceStop(id);
    expect(await checksum(id)).toBe(before);
  });
});
