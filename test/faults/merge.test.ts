import { createHash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { openVhd } from '../../src/disk/index.ts';
import { runProgram } from '../../src/system/index.ts';
import { hv } from '../cli/built.ts';
import { dataFiles, type FaultFixture, faultFixture, MIB, readDefinition } from './fixture.ts';

const DISK_MIB = 256;

describe('a merge that is killed', () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  const drivePath = async (id: string): Promise<string> =>
    (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';

  /** Random bytes into every `step`th megabyte, zeroes into a few. */
  const scribble = async (id: string, first: number, step: number): Promise<void> => {
    const disk = await openVhd(await drivePath(id), { allowParents: [fixture.folder] });
    const data = randomBytes(MIB);
    for (let at = first; at < DISK_MIB; at += step) {
      data.writeUInt32LE(at, 0);
      disk.write(at * MIB, data, 0, MIB);
      if (at % 5 === 0) disk.writeZeroes(at * MIB, MIB / 2, true);
    }
    await disk.close();
  };
  const checksum = async (id: string): Promise<string> => {
    const disk = await openVhd(await drivePath(id), { readOnly: true, allowParents: [fixture.folder] });
    const hash = createHash('sha256');
    const data = Buffer.alloc(MIB);
    for (let at = 0; at < DISK_MIB; at++) {
      disk.read(at * MIB, data, 0, MIB);
      hash.update(data);
    }
    await disk.close();
    return hash.digest('hex');
  };

  it('is taken up by the next command at every moment, and changes no byte', async () => {
    const diskPath = join(fixture.folder, 'merged.vhdx');
    const { id } = await fixture.host.vms.create({
      name: 'merged',
      generation: 1,
      memoryBytes: 64 * MIB,
      diskPath,
      newDiskSizeBytes: DISK_MIB * MIB,
    });
    await scribble(id, 0, 3);
    let caught = 0;
    for (const waitMs of [0, 20, 60, 150]) {
      const { id: snapshotId } = await fixture.host.snapshots.create(id, 'under');
      await scribble(id, waitMs % 3, 2);
      const before = await checksum(id);
      await hv(['snapshot', 'delete', 'merged', 'under'], {
        env: { HV_HOME: fixture.home },
        onStart: (child) => {
          const isMerging = async (): Promise<true | undefined> =>
            (await readDefinition(fixture, id)).pending !== null || child.exitCode !== null ? true : undefined;
          void poll(isMerging, { timeoutMs: 20_000, intervalMs: 1, doing: 'waiting for the merge' }).then(() =>
            setTimeout(() => child.kill('SIGKILL'), waitMs),
          );
        },
      });
      const { pending, snapshots } = await readDefinition(fixture, id);
      expect(snapshots.some((snapshot) => snapshot.id === snapshotId)).toBe(false);
      if (pending !== null) caught++;
      // Reading is right even before anybody finishes the work.
      expect(await checksum(id)).toBe(before);
      await fixture.host.vms.start(id);
      await fixture.host.vms.forceStop(id);
      expect((await readDefinition(fixture, id)).pending).toBeNull();
      expect(await drivePath(id)).toBe(diskPath);
      expect(await checksum(id)).toBe(before);
      expect((await dataFiles(fixture, id)).disks).toEqual([]);
      const { stdout } = await runProgram('qemu-img', ['check', '-f', 'vhdx', diskPath], { deadlineMs: 30_000 });
      expect(stdout.toString()).toMatch(/No errors were found/);
    }
    expect(caught).toBeGreaterThan(0);
  });
});
