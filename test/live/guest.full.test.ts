import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { boot, describeMachinesOf, inGuest, linuxMachine } from '../conformance/guest/machine.ts';
import { pidsOf } from '../conformance/qemu-home.ts';
import { dataFiles, type FaultFixture, faultFixture, readDefinition } from '../faults/fixture.ts';
import { expectWritten, Writer } from '../faults/writer.ts';

const BULK_MIB = 64;

describe('snapshots that are deleted under a guest that writes', () => {
  let fixture: FaultFixture;
  let id = '';
  let next = 1;
  const written: { readonly first: number; readonly last: number }[] = [];
  const bulks = new Map<number, string>();
  let startOffset = 0;
  let fills = 0;
  beforeAll(async () => {
    fixture = await faultFixture();
    id = await linuxMachine(fixture, 'merged live', { generation: 2 });
    await boot(fixture, id);
    await inGuest(fixture, id, 'umount /data');
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.error(task.name, await describeMachinesOf(fixture));
  });
  afterAll(() => fixture.close());

  const attached = async (): Promise<string> => Object.values((await readDefinition(fixture, id)).attached)[0] ?? '';
  const drivePath = async (): Promise<string> => (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';

  /** Fills a part of the disk with text, so that a merge has something to do; remembers what it must read as. */
  const fillDisk = async (part: number): Promise<void> => {
    const place = `bs=1M seek=${100 + part * BULK_MIB} count=${BULK_MIB}`;
    const letter = String.fromCharCode('a'.charCodeAt(0) + fills++);
    await inGuest(
      fixture,
      id,
      `tr '\\0' ${letter} </dev/zero | dd of=/dev/sda3 ${place} iflag=fullblock conv=fsync,notrunc 2>&1`,
    );
    bulks.set(part, await checksum(part));
  };
  const checksum = (part: number): Promise<string> =>
    inGuest(
      fixture,
      id,
      `echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/sda3 bs=1M skip=${100 + part * BULK_MIB} count=${BULK_MIB} 2>/dev/null | md5sum`,
    );
  const expectBulks = async (): Promise<void> => {
    for (const [part, sum] of bulks) expect(await checksum(part), `part ${part}`).toBe(sum);
  };
  /** The guest writes without end while `work` runs; nothing it was told of may be lost, and it sees no error. */
  const underWrites = async (work: (writer: Writer) => Promise<void>): Promise<void> => {
    await using writer = await Writer.start(fixture, id, next);
    ({ startOffset } = writer);
    await work(writer);
    await writer.goesOn(20_000);
    written.push(await writer.stop());
    next = writer.acknowledged + 100;
  };

  it('merges a file under the leaf, then the leaf itself, and the machine is on its own disk again', async () => {
    await fixture.host.snapshots.create(id, 'one');
    await fillDisk(0);
    await fixture.host.snapshots.create(id, 'two');
    await fillDisk(1);
    const [one, two] = await fixture.host.snapshots.list(id);
    const leaf = await drivePath();
    await underWrites(async () => {
      await fixture.host.snapshots.delete(id, one?.id ?? '');
      expect(await drivePath()).toBe(leaf);
      expect((await dataFiles(fixture, id)).disks).toHaveLength(1);
      await fixture.host.snapshots.delete(id, two?.id ?? '');
    });
    expect(await drivePath()).toBe(await attached());
    expect((await dataFiles(fixture, id)).disks).toEqual([]);
    expect((await readDefinition(fixture, id)).pending).toBeNull();
    await expectBulks();
  });

  it.each(['under the leaf', 'the leaf'])('survives the death of its worker: %s', async (which) => {
    await fixture.host.snapshots.create(id, 'one');
    await fillDisk(0);
    if (which === 'under the leaf') await fixture.host.snapshots.create(id, 'two');
    await fillDisk(1);
    for (const snapshot of await fixture.host.snapshots.list(id)) {
      await underWrites(async () => {
        const deleting = fixture.host.snapshots.delete(id, snapshot.id);
        await poll(async () => (await readDefinition(fixture, id)).pending !== null || undefined, {
          timeoutMs: 20_000,
          intervalMs: 2,
          doing: 'waiting for the merge',
        });
        await pause(60);
        const [worker] = pidsOf(fixture.home, 'worker');
        expect((await readDefinition(fixture, id)).pending, 'still merging').not.toBeNull();
        process.kill(worker ?? 0, 'SIGKILL');
        await deleting;
      });
    }
    expect(await drivePath()).toBe(await attached());
    expect((await dataFiles(fixture, id)).disks).toEqual([]);
    await expectBulks();
  });

  it('is mirrored, also over the death of its worker, and goes on with the mirror', async () => {
    const { disks } = fixture.host;
    const before = await drivePath();
    const copy = join(fixture.folder, 'copy.vhdx');
    const mirror = join(fixture.folder, 'mirror.vhdx');
    await underWrites(async () => {
      await disks.mirror(before, copy);
      expect(await disks.breakMirror(before)).toEqual({ mirrorPath: copy, path: before });
      const mirroring = disks.mirror(before, mirror);
      await poll(async () => (await readDefinition(fixture, id)).mirrors !== undefined || undefined, {
        timeoutMs: 20_000,
        intervalMs: 2,
        doing: 'waiting for the mirror',
      });
      await pause(1000);
      process.kill(pidsOf(fixture.home, 'worker')[0] ?? 0, 'SIGKILL');
      await mirroring;
      expect((await disks.users(mirror))[0]).toMatchObject({ id, as: 'drive' });
      process.kill(pidsOf(fixture.home, 'worker')[0] ?? 0, 'SIGKILL');
      await disks.mirror(before, mirror);
      expect(await disks.breakMirror(before, { switchToMirror: true })).toEqual({ mirrorPath: mirror, path: mirror });
      expect(await drivePath()).toBe(mirror);
      expect((await readDefinition(fixture, id)).mirrors).toBeUndefined();
    });
    await expectBulks();
    // Everything works on with the new disk.
    await fixture.host.snapshots.create(id, 'on the mirror');
    await underWrites(async () => {
      for (const snapshot of await fixture.host.snapshots.list(id))
        await fixture.host.snapshots.delete(id, snapshot.id);
    });
    expect(await drivePath()).toBe(mirror);
  });

  it('has every acknowledged write of all rounds on the disk', async () => {
    await fixture.host.vms.forceStop(id);
    expect(written.length).toBeGreaterThan(3);
    for (const { first, last } of written) await expectWritten(fixture, id, startOffset, first, last);
  });
});
