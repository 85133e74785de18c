import { execFileSync } from 'node:child_process';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openVhd } from '../../src/disk/index.ts';
import { isRoot } from '../../src/system/index.ts';
import { bareMachine, type FaultFixture, faultFixture, killAndWait, MIB, settled } from './fixture.ts';

/** A device over a file, or why there is none. */
function attachLoop(file: string): string | undefined {
  try {
    return execFileSync('losetup', ['--show', '--find', file], { encoding: 'utf8', stdio: 'pipe' }).trim();
  } catch {
    return undefined;
  }
}

describe('a block device of the host as a drive', () => {
  let fixture: FaultFixture;
  let device: string | undefined;
  beforeAll(async () => {
    fixture = await faultFixture();
    const file = join(fixture.folder, 'device.bin');
    await using created = await open(file, 'w');
    await created.truncate(32 * MIB);
    device = isRoot() ? attachLoop(file) : undefined;
  });
  afterAll(async () => {
    await fixture.close();
    if (device !== undefined) execFileSync('losetup', ['--detach', device]);
  });

  it('is the machine’s alone, under a running guest too, and stays what it is', async (context) => {
    if (device === undefined) return context.skip('no loop devices here');
    const { storage, snapshots, vms } = fixture.host;
    const id = await bareMachine(fixture, 'through');
    const other = await bareMachine(fixture, 'other');
    await vms.start(id);
    const holder = await openVhd(device, { isPhysical: true });
    await expect(storage.addHardDiskDrive(id, { path: device, isPhysical: true })).rejects.toMatchObject({
      code: 'in-use',
    });
    await holder.close();
    const drive = await storage.addHardDiskDrive(id, { path: device, isPhysical: true });
    expect(drive).toMatchObject({ path: device, isPhysical: true, sizeBytes: 32 * MIB, controllerType: 'SCSI' });
    await expect(openVhd(device, { isPhysical: true })).rejects.toMatchObject({ code: 'in-use' });
    await expect(storage.addHardDiskDrive(other, { path: device, isPhysical: true })).rejects.toMatchObject({
      code: 'in-use',
      detail: { id },
    });
    await expect(snapshots.create(id, 'one')).rejects.toMatchObject({ code: 'unsupported' });
    await killAndWait(fixture, 'worker');
    expect((await settled(fixture, id)).state).toBe('Running');
    await vms.save(id);
    await vms.start(id);
    await expect(openVhd(device, { isPhysical: true })).rejects.toMatchObject({ code: 'in-use' });
    await storage.removeHardDiskDrive(id, drive);
    const free = await openVhd(device, { isPhysical: true });
    await free.close();
    await storage.addHardDiskDrive(id, { path: device, isPhysical: true });
    await vms.forceStop(id);
    const { deletedPaths } = await vms.delete(id, { withDisks: true });
    expect(deletedPaths).not.toContain(device);
    const stays = await openVhd(device, { isPhysical: true });
    await stays.close();
  });

  it('is read, written and zeroed like a disk, and keeps its size', async (context) => {
    if (device === undefined) return context.skip('no loop devices here');
    await using disk = await openVhd(device, { isPhysical: true });
    expect(disk.sizeBytes).toBe(32 * MIB);
    const [data, back] = [Buffer.alloc(MIB, 'x'), Buffer.alloc(MIB)];
    disk.write(31 * MIB, data, 0, MIB);
    disk.read(31 * MIB, back, 0, MIB);
    expect(back.equals(data)).toBe(true);
    for (const mayUnmap of [true, false]) {
      disk.write(31 * MIB, data, 0, MIB);
      disk.writeZeroes(31 * MIB, MIB, mayUnmap);
      disk.read(31 * MIB, back, 0, MIB);
      expect(back.every((byte) => byte === 0)).toBe(true);
    }
    await disk.flush();
  });

  it('is refused where it is mounted, or none', async (context) => {
    if (device === undefined) return context.skip('no loop devices here');
    const { storage, snapshots } = fixture.host;
    const id = await bareMachine(fixture, 'refused');
    const point = join(fixture.folder, 'mnt');
    execFileSync('mkfs.ext4', ['-q', device]);
    execFileSync('mkdir', [point]);
    execFileSync('mount', [device, point]);
    try {
      await expect(storage.addHardDiskDrive(id, { path: device, isPhysical: true })).rejects.toMatchObject({
        code: 'in-use',
        hint: expect.stringMatching(/[Uu]nmount/),
      });
    } finally {
      execFileSync('umount', [point]);
    }
    for (const [options, code] of [
      [{ path: join(fixture.folder, 'device.bin'), isPhysical: true }, 'invalid-argument'],
      [{ path: '/dev/null', isPhysical: true }, 'invalid-argument'],
      [{ path: '/dev/none-such', isPhysical: true }, 'not-found'],
      [{ isPhysical: true }, 'invalid-argument'],
      [{ path: device, isPhysical: true, newSizeBytes: MIB }, 'invalid-argument'],
    ] as const) {
      await expect(storage.addHardDiskDrive(id, options)).rejects.toMatchObject({ code });
    }
    await snapshots.create(id, 'before');
    await expect(storage.addHardDiskDrive(id, { path: device, isPhysical: true })).rejects.toMatchObject({
      code: 'invalid-state',
    });
  });
});
