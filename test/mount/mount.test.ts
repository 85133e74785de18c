import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdir, open, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { poll } from '../../src/async/index.ts';
import type { AttachedDisk, MountWay } from '../../src/disk/index.ts';
import { createVhd, openVhd, vhdInfo } from '../../src/disk/index.ts';
import { examineWays } from '../../src/engines/qemu/mounts/ways.ts';
import { isRoot, runProgram } from '../../src/system/index.ts';
import { hv } from '../cli/built.ts';
import { bytesIn, MIB, type MountFixture, mountFixture, PART1, PART2, SIZE_BYTES } from './fixture.ts';

const missing = new Map((await examineWays()).map((finding) => [finding.way, finding.missing]));
const skipped = (way: MountWay): string => (missing.get(way) === null ? '' : ` (skipped: ${missing.get(way)})`);

let fixture: MountFixture;
beforeEach(async () => {
  fixture = await mountFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

const mounted = async (): Promise<readonly AttachedDisk[]> => fixture.host.disks.attached();
/** Folders of mounted disks that are still there. */
const leftovers = async (): Promise<string[]> => (await readdir(fixture.run)).filter((name) => name.startsWith('m-'));
const sh = async (command: string, ...args: string[]): Promise<string> => {
  const { stdout } = await runProgram('sh', ['-c', command, 'sh', ...args], { deadlineMs: 20_000 });
  return stdout.toString();
};
const writeInto = async (path: string, offset: number, bytes: Buffer): Promise<void> => {
  await using file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, offset);
  await file.sync();
};
const readFrom = async (path: string, offset: number, length: number): Promise<Buffer> => {
  await using file = await open(path, 'r');
  return (await file.read(Buffer.alloc(length), 0, length, offset)).buffer;
};

describe.skipIf(missing.get('fuse') !== null)(`a disk as files${skipped('fuse')}`, { timeout: 60_000 }, () => {
  it('outlives the command; what is written into a partition lies in the disk after dismounting', async () => {
    const env = { HV_HOME: fixture.home };
    const ran = await hv(['vhd', 'mount', fixture.disk, '--way', 'fuse', '--json'], { env });
    expect(ran.stderr).toBe('');
    const disk: AttachedDisk = JSON.parse(ran.stdout);
    expect(disk).toMatchObject({
      path: fixture.disk,
      way: 'fuse',
      state: 'attached',
      readOnly: false,
      devicePath: null,
    });
    expect(disk.partitions.map(({ offsetBytes, sizeBytes }) => ({ offset: offsetBytes, sizeBytes }))).toEqual([
      PART1,
      PART2,
    ]);
    const [part1, part2] = disk.partitions;
    const bytes = Buffer.alloc(3 * MIB + 5, 'partition two ');
    await writeInto(part2?.filePath ?? '', 777, bytes);
    expect((await readFrom(disk.filePath, PART2.offset + 777, bytes.length)).equals(bytes)).toBe(true);
    expect((await readFrom(part1?.filePath ?? '', 0, 512)).equals(Buffer.alloc(512))).toBe(true);
    expect(JSON.parse((await hv(['vhd', 'list-attached', '--json'], { env })).stdout)).toEqual([disk]);

    const away = await hv(['vhd', 'dismount', fixture.disk], { env });
    expect([away.status, away.stdout]).toEqual([0, `${fixture.disk} is dismounted.\n`]);
    expect((await bytesIn(fixture.disk, PART2.offset + 777, bytes.length)).equals(bytes)).toBe(true);
    expect(await mounted()).toEqual([]);
    expect(await leftovers()).toEqual([]);
    expect((await hv(['vhd', 'dismount', fixture.disk], { env })).status).toBe(3);
  });

  it('holds the file: no second mount, no other writer, and it counts as in use', async () => {
    const disk = await fixture.host.disks.mount(fixture.disk, { way: 'fuse' });
    await expect(fixture.host.disks.mount(fixture.disk)).rejects.toMatchObject({ code: 'in-use' });
    await expect(openVhd(fixture.disk)).rejects.toMatchObject({ code: 'in-use', detail: { pid: disk.processId } });
    expect((await vhdInfo(fixture.disk)).inUse).toBe(true);
    await fixture.host.disks.dismount(fixture.disk);
    expect((await vhdInfo(fixture.disk)).inUse).toBe(false);
  });

  it('is read-only when told so', async () => {
    const { filePath } = await fixture.host.disks.mount(fixture.disk, { way: 'fuse', readOnly: true });
    await expect(open(filePath, 'r+')).rejects.toMatchObject({ code: 'EROFS' });
    expect((await readFrom(filePath, 512, 8)).toString()).toBe('EFI PART');
    await (await openVhd(fixture.disk, { readOnly: true })).close(); // other readers are welcome
    expect(await vhdInfo(fixture.disk)).toMatchObject({ inUse: false, isLoaded: true });
  });

  it('is broken when its worker is killed: nothing acknowledged is lost, and dismounting or mounting cleans up', async () => {
    for (const next of ['dismount', 'mount'] as const) {
      const disk = await fixture.host.disks.mount(fixture.disk, { way: 'fuse' });
      const bytes = Buffer.alloc(MIB, next);
      await writeInto(disk.partitions[0]?.filePath ?? '', 4096, bytes);
      process.kill(disk.processId, 'SIGKILL');
      await poll(async () => ((await mounted())[0]?.state === 'broken' ? true : undefined), { timeoutMs: 5000, intervalMs: 20, doing: 'waiting for the end of the worker' }); // biome-ignore format: one thing
      await expect(readFile(disk.filePath)).rejects.toMatchObject({
        code: expect.stringMatching(/ENOTCONN|ECONNABORTED/),
      });
      await fixture.host.disks[next](fixture.disk);
      if (next === 'mount') {
        expect((await mounted())[0]).toMatchObject({ state: 'attached' });
        await fixture.host.disks.dismount(fixture.disk);
      }
      expect((await bytesIn(fixture.disk, PART1.offset + 4096, bytes.length)).equals(bytes)).toBe(true);
      expect(await leftovers()).toEqual([]);
    }
  });

  it('stays while somebody has a file open, and says so', async () => {
    const disk = await fixture.host.disks.mount(fixture.disk, { way: 'fuse' });
    const holder = spawn('sh', ['-c', 'exec 3<"$1" && echo open && exec sleep 60', 'sh', disk.filePath]);
    await once(holder.stdout, 'data');
    await expect(fixture.host.disks.dismount(fixture.disk)).rejects.toMatchObject({ code: 'in-use' });
    expect(await mounted()).toEqual([disk]);
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    await fixture.host.disks.dismount(fixture.disk);
  });

  it('leaves nothing when it comes to nothing', async () => {
    const broken = join(fixture.home, 'broken.vhdx');
    await writeFile(broken, Buffer.alloc(4 * MIB, 1));
    await expect(fixture.host.disks.mount(broken)).rejects.toMatchObject({ code: 'corrupt' });
    await expect(fixture.host.disks.mount(join(fixture.home, 'none.vhdx'))).rejects.toMatchObject({
      code: 'not-found',
    });
    await using _held = await openVhd(fixture.disk);
    await expect(fixture.host.disks.mount(fixture.disk)).rejects.toMatchObject({ code: 'in-use' });
    expect(await leftovers()).toEqual([]);
    const signal = AbortSignal.abort();
    await expect(fixture.host.disks.mount(fixture.disk, { signal })).rejects.toMatchObject({ code: 'aborted' });
  });

  it('is whole or not there when the command is killed or gives up at any moment', async () => {
    const env = { HV_HOME: fixture.home };
    for (const delayMs of [300, 450, 600]) {
      const child = await hv(['vhd', 'mount', fixture.disk], {
        env,
        onStart: (started) => setTimeout(() => started.kill('SIGKILL'), delayMs),
      });
      const shown = await mounted();
      if (child.status === 0) expect(shown).toMatchObject([{ state: 'attached' }]);
      await fixture.host.disks.dismount(fixture.disk).catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'not-found' });
      });
      const again = await fixture.host.disks.mount(fixture.disk);
      await fixture.host.disks.dismount(fixture.disk);
      expect(again.state).toBe('attached');
      expect(await leftovers()).toEqual([]);
    }
    for (const delayMs of [1, 120]) {
      const signal = AbortSignal.timeout(delayMs);
      const outcome = await fixture.host.disks.mount(fixture.disk, { signal }).catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toMatchObject({ code: 'aborted' });
      else await fixture.host.disks.dismount(fixture.disk);
      expect(await leftovers()).toEqual([]);
    }
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(fixture.run);
    if (isRoot()) expect(await sh('losetup --list --noheadings --output BACK-FILE')).not.toContain(fixture.run);
  });

  it('is closed in order when somebody else unmounts its files', async () => {
    const disk = await fixture.host.disks.mount(fixture.disk, { way: 'fuse' });
    await writeInto(disk.filePath, SIZE_BYTES / 2, Buffer.from('by hand'));
    const folder = join(disk.filePath, '..');
    if (isRoot()) await sh('umount "$1"', folder);
    else await sh('fusermount3 -u "$1"', folder);
    await poll(async () => ((await vhdInfo(fixture.disk)).inUse ? undefined : true), { timeoutMs: 5000, intervalMs: 20, doing: 'waiting for the end of the worker' }); // biome-ignore format: one thing
    expect((await bytesIn(fixture.disk, SIZE_BYTES / 2, 7)).toString()).toBe('by hand');
    // The disk is free a moment before the process that served it is gone.
    await vi.waitFor(async () => expect(await mounted()).toMatchObject([{ state: 'broken' }]), { timeout: 5000 });
    await fixture.host.disks.dismount(fixture.disk);
    expect(await leftovers()).toEqual([]);
  });

  it.skipIf(!isRoot())('is served without any privilege, though root started it (needs root)', async () => {
    const { processId } = await fixture.host.disks.mount(fixture.disk, { way: 'fuse' });
    const status = readFileSync(`/proc/${processId}/status`, 'latin1');
    const uids = /^Uid:\s+(.*)$/m.exec(status)?.[1]?.split(/\s+/).map(Number) ?? [];
    expect(uids.every((uid) => uid >= 0x7a00_0000)).toBe(true);
    expect(status).toMatch(/^CapEff:\s+0+$/m);
    expect(status).toMatch(/^CapPrm:\s+0+$/m);
  });
});

for (const way of ['nbd', 'fuse-loop'] as const) {
  describe.skipIf(missing.get(way) !== null)(
    `a disk as a block device by ${way}${skipped(way)}`,
    { timeout: 60_000 },
    () => {
      it('is a device of its size with its partitions, and keeps what is written to them', async () => {
        const disk = await fixture.host.disks.mount(fixture.disk, { way });
        expect(disk.way).toBe(way);
        expect(Number(await sh('blockdev --getsize64 "$1"', disk.devicePath ?? ''))).toBe(SIZE_BYTES);
        const [part1] = disk.partitions;
        expect(Number(await sh('blockdev --getsize64 "$1"', part1?.devicePath ?? ''))).toBe(PART1.sizeBytes);
        await sh(
          'head -c 1000000 /dev/zero | tr "\\0" x | dd of="$1" bs=64k seek=3 conv=fsync 2>&1',
          part1?.devicePath ?? '',
        );
        expect(
          (await readFrom(disk.filePath, PART1.offset + 3 * 65536, 1_000_000)).equals(Buffer.alloc(1_000_000, 'x')),
        ).toBe(true);
        await fixture.host.disks.dismount(fixture.disk);
        expect(
          (await bytesIn(fixture.disk, PART1.offset + 3 * 65536, 1_000_000)).equals(Buffer.alloc(1_000_000, 'x')),
        ).toBe(true);
        expect(await sh('losetup --list --noheadings --output BACK-FILE')).not.toContain(fixture.run);
      });

      it('has the sectors of the disk, and takes other formats and children alike', async () => {
        const at = (name: string): string => join(fixture.home, name);
        await createVhd(at('4k.vhdx'), {
          sizeBytes: SIZE_BYTES,
          logicalSectorSizeBytes: 4096,
          physicalSectorSizeBytes: 4096,
        });
        await createVhd(at('old.vhd'), { sizeBytes: SIZE_BYTES });
        await createVhd(at('child.vhdx'), { parentPath: fixture.disk });
        for (const [name, sector] of [
          ['4k.vhdx', 4096],
          ['old.vhd', 512],
          ['child.vhdx', 512],
        ] as const) {
          // biome-ignore format: a table
          const disk = await fixture.host.disks.mount(at(name), { way });
          expect(Number(await sh('blockdev --getss "$1"', disk.devicePath ?? ''))).toBe(sector);
          expect(disk.partitions.length).toBe(name === 'child.vhdx' ? 2 : 0);
          await writeInto(disk.devicePath ?? '', 8 * MIB, Buffer.alloc(8192, name));
          await fixture.host.disks.dismount(at(name));
          expect((await bytesIn(at(name), 8 * MIB, 8192)).equals(Buffer.alloc(8192, name))).toBe(true);
        }
      });

      it('tracks what changes while it is mounted, where tracking is on', async () => {
        await fixture.host.disks.enableChangeTracking(fixture.disk);
        const since = await fixture.host.disks.takeReferencePoint(fixture.disk);
        const disk = await fixture.host.disks.mount(fixture.disk, { way });
        await writeInto(disk.devicePath ?? '', 40 * MIB, Buffer.alloc(4096, 1));
        await fixture.host.disks.dismount(fixture.disk);
        const { ranges } = await fixture.host.disks.queryChanges(fixture.disk, since);
        const covers = ranges.some(
          ({ offsetBytes, lengthBytes }) => offsetBytes <= 40 * MIB && offsetBytes + lengthBytes >= 40 * MIB + 4096,
        );
        expect(covers).toBe(true);
      });

      it('gives space back for a discard', async () => {
        const disk = await fixture.host.disks.mount(fixture.disk, { way });
        const device = disk.partitions[1]?.devicePath ?? '';
        await sh('head -c 8388608 /dev/zero | tr "\\0" y | dd of="$1" bs=1M conv=fsync 2>&1', device);
        await sh('blkdiscard --offset 0 --length 8388608 "$1"', device);
        await fixture.host.disks.dismount(fixture.disk);
        await using opened = await openVhd(fixture.disk, { readOnly: true });
        expect([...opened.extents(PART2.offset, 8 * MIB)].every(({ kind }) => kind !== 'data')).toBe(true);
      });

      it('mounts file systems only when asked, read-only unless trusted', async () => {
        const made = await fixture.host.disks.mount(fixture.disk, { way });
        expect(made.partitions.map(({ mountPath }) => mountPath)).toEqual([null, null]);
        await sh('mke2fs -q -t ext4 "$1"', made.partitions[0]?.devicePath ?? '');
        await fixture.host.disks.dismount(fixture.disk);

        const trusted = await fixture.host.disks.mount(fixture.disk, { way, mountFileSystems: true, trusted: true });
        const [inside, empty] = trusted.partitions;
        expect(empty?.mountPath).toBeNull();
        await writeFile(join(inside?.mountPath ?? '', 'hello'), 'from the host');
        await fixture.host.disks.dismount(fixture.disk);

        const untrusted = await fixture.host.disks.mount(fixture.disk, { way, mountFileSystems: true });
        expect(untrusted.readOnly).toBe(true);
        const folder = untrusted.partitions[0]?.mountPath ?? '';
        expect(await readFile(join(folder, 'hello'), 'utf8')).toBe('from the host');
        await expect(writeFile(join(folder, 'hello'), 'x')).rejects.toMatchObject({ code: 'EROFS' });
        await fixture.host.disks.dismount(fixture.disk);
        expect(await leftovers()).toEqual([]);
      });

      it('stays while somebody has mounted from it, and says where', async () => {
        const { partitions } = await fixture.host.disks.mount(fixture.disk, { way });
        const device = partitions[0]?.devicePath ?? '';
        const place = join(fixture.home, 'place');
        await mkdir(place);
        await sh('mke2fs -q -t ext4 "$1" && mount "$1" "$2"', device, place);
        try {
          const refused = fixture.host.disks.dismount(fixture.disk);
          await expect(refused).rejects.toMatchObject({ code: 'in-use', detail: { mountPath: place } });
        } finally {
          await sh('umount "$1"', place);
        }
        await fixture.host.disks.dismount(fixture.disk);
      });

      it('is cleaned up after its worker was killed, with everything that was mounted from it', async () => {
        const made = await fixture.host.disks.mount(fixture.disk, { way });
        await sh('mke2fs -q -t ext4 "$1"', made.partitions[0]?.devicePath ?? '');
        await fixture.host.disks.dismount(fixture.disk);
        const { processId } = await fixture.host.disks.mount(fixture.disk, { way, mountFileSystems: true });
        process.kill(processId, 'SIGKILL');
        await poll(async () => ((await mounted())[0]?.state === 'broken' ? true : undefined), { timeoutMs: 5000, intervalMs: 20, doing: 'waiting for the end of the worker' }); // biome-ignore format: one thing
        await fixture.host.disks.dismount(fixture.disk);
        expect(await leftovers()).toEqual([]);
        expect(await sh('losetup --list --noheadings --output BACK-FILE')).not.toContain(fixture.run);
        expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(fixture.run);
      });
    },
  );
}

it('shows a disk in the best way that works here', async () => {
  const best = [...missing].find(([, lack]) => lack === null)?.[0];
  if (best === undefined) {
    await expect(fixture.host.disks.mount(fixture.disk)).rejects.toMatchObject({ code: 'missing-dependency' });
  } else {
    expect((await fixture.host.disks.mount(fixture.disk)).way).toBe(best);
  }
  expect((await fixture.host.disks.mountWays()).map(({ way, missing: lack }) => [way, lack])).toEqual([...missing]);
});

it('names in hv doctor the ways that work and what the others lack', async () => {
  const finding = (await fixture.host.system.doctor()).find(({ id }) => id === 'mount');
  const isGood = missing.get('nbd') === null || missing.get('fuse-loop') === null;
  expect(finding).toMatchObject({ status: isGood ? 'ok' : 'warning' });
  expect(finding?.fix === null).toBe(isGood);
  for (const [way, lack] of missing) {
    expect(finding?.message).toContain(lack === null ? way : `not as ${way}: ${lack}`);
  }
});
