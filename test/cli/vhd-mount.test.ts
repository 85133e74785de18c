import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  type AttachedDisk,
  createVhd,
  FileDisks,
  type MountVhdOptions,
  type MountWayFinding,
} from '../../src/disk/index.ts';
import { HvError } from '../../src/errors/index.ts';
import { HyperVFacade } from '../../src/facade/index.ts';
import type { Host } from '../../src/host/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

/** Shows disks without a kernel: what the commands ask for, and what they make of the answers. */
class ShownDisks extends FileDisks {
  readonly shown: AttachedDisk[] = [];
  asked: MountVhdOptions | undefined;

  override async mount(path: string, options: MountVhdOptions = {}): Promise<AttachedDisk> {
    this.asked = options;
    const partition = { type: '83', mountPath: options.mountFileSystems ? '/run/fs/part1' : null };
    const disk: AttachedDisk = {
      path,
      way: 'fuse-loop',
      state: 'attached',
      readOnly: options.readOnly === true,
      sizeBytes: 2 ** 26,
      devicePath: '/dev/loop7',
      filePath: '/run/disk/disk.raw',
      partitions: [
        { ...partition, number: 1, offsetBytes: 2 ** 20, sizeBytes: 2 ** 24, filePath: '/run/disk/part1', devicePath: '/dev/loop7p1' }, // biome-ignore format: one thing
        { ...partition, number: 2, offsetBytes: 2 ** 25, sizeBytes: 2 ** 24, filePath: '/run/disk/part2', devicePath: null, mountPath: null }, // biome-ignore format: one thing
      ],
      processId: 4711,
      startedTime: '2025-01-02T03:04:05.000Z',
    };
    this.shown.push(disk);
    return disk;
  }

  override async mountWays(): Promise<readonly MountWayFinding[]> {
    return [
      { way: 'nbd', missing: 'the kernel module nbd is not there', fix: 'Another kernel.' },
      { way: 'fuse-loop', missing: null, fix: null },
      { way: 'fuse', missing: 'no fusermount3', fix: 'apt-get install fuse3' },
    ];
  }

  override async dismount(path: string): Promise<void> {
    const index = this.shown.findIndex((disk) => disk.path === path);
    if (index === -1) throw new HvError('not-found', `${path} is not mounted`);
    this.shown.splice(index, 1);
  }

  override async attached(): Promise<readonly AttachedDisk[]> {
    return this.shown;
  }
}

class ShowingDouble extends HostDouble {
  readonly disks = new ShownDisks();

  override get host(): Host {
    return { ...super.host, disks: this.disks };
  }
}

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let double: ShowingDouble;
let disk = '';
beforeEach(async () => {
  folder = await temporaryFolder();
  double = new ShowingDouble();
  disk = join(folder.path, 'd.vhdx');
  await createVhd(disk, { sizeBytes: 2 ** 26 });
});
afterEach(() => folder[Symbol.asyncDispose]());

const vhd = (...words: string[]): Promise<Ran> => run(['vhd', ...words], { double });

it('mounts, lists and dismounts, for people and as JSON', async () => {
  expect((await vhd('mount', disk)).stdout).toBe(
    `${disk} is /dev/loop7 (fuse-loop).\n  1: /dev/loop7p1\n  2: /run/disk/part2\n`,
  );
  expect((await vhd('list-attached')).stdout).toBe(`${disk}\tattached\twritable\t/dev/loop7\t2\n`);
  const [listed] = JSON.parse((await vhd('list-attached', '--json')).stdout);
  expect(listed).toEqual(double.disks.shown[0]);
  expect(JSON.parse((await vhd('dismount', disk, '--json')).stdout)).toEqual({ path: disk, dismounted: true });
  expect((await vhd('list-attached', '--json')).stdout).toBe('[]\n');
  expect((await vhd('dismount', disk)).status).toBe(3);
});

it('passes on how it is to be shown, and warns before the kernel reads file systems', async () => {
  const ran = await vhd('mount', disk, '--read-only', '--way', 'fuse', '--force');
  expect(ran.stdout).toContain('is /dev/loop7 (fuse-loop, read-only).');
  expect(double.disks.asked).toMatchObject({ readOnly: true, way: 'fuse', force: true, mountFileSystems: false });
  const inside = await vhd('mount', disk, '--mount-filesystems');
  expect(inside.stderr).toMatch(/not made for hostile/);
  expect(inside.stdout).toContain('1: /dev/loop7p1, mounted at /run/fs/part1\n');
  const json = await vhd('mount', disk, '--mount-filesystems', '--trusted', '--json');
  expect(JSON.parse(json.stdout).warning).toMatch(/not made for hostile/);
  expect(double.disks.asked).toMatchObject({ mountFileSystems: true, trusted: true });
});

it('says which way is used, and what a better one lacks', async () => {
  const ran = await vhd('mount', disk);
  expect(ran.stdout).toContain('(fuse-loop)');
  expect(ran.stderr).toContain('Not as nbd: the kernel module nbd is not there.');
  expect(ran.stderr).not.toContain('fusermount3');
  expect((await vhd('mount', disk, '--way', 'fuse-loop')).stderr).toBe('');
  expect((await vhd('mount', disk, '--json')).stderr).toBe('');
});

it('changes nothing in a dry run', async () => {
  expect(JSON.parse((await vhd('mount', disk, '--dry-run', '--json')).stdout)).toMatchObject({
    dryRun: true,
    path: disk,
  });
  expect(JSON.parse((await vhd('dismount', disk, '--dry-run', '--json')).stdout)).toMatchObject({ isMounted: false });
  expect(double.disks.asked).toBeUndefined();
  expect((await vhd('mount', join(folder.path, 'none.vhdx'), '--dry-run')).status).toBe(3);
});

it('is unsupported where no engine shows disks, and wrong usage for a way that there is not', async () => {
  const ran = await run(['vhd', 'mount', disk], { double: new HostDouble() });
  expect([ran.status, ran.stderr]).toEqual([5, expect.stringContaining('hv vhd serve')]);
  expect((await run(['vhd', 'list-attached', '--json'], { double: new HostDouble() })).stdout).toBe('[]\n');
  expect((await vhd('mount', disk, '--way', 'magic')).status).toBe(2);
});

it('counts for the library as attached while it is shown', async () => {
  const hyperV = new HyperVFacade(double.host);
  const opened = await hyperV.getVhd(disk);
  expect(await opened.isAttached()).toBe(false);
  const shown = await opened.mount();
  expect(await opened.isAttached()).toBe(true);
  expect(await hyperV.attachedVhds()).toEqual([shown]);
  await opened.dismount();
  expect(await opened.isAttached()).toBe(false);
});
