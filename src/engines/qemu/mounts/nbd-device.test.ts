import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { kernelPartition } from './kernel-state.ts';
import {
  attachArguments,
  detachArguments,
  freeNbdDevices,
  type NbdNeeds,
  nbdDevicesOn,
  nbdNeeds,
  nbdObstacle,
} from './nbd-device.ts';

let sysFolder: string;
beforeEach(async () => {
  sysFolder = await mkdtemp(join(tmpdir(), 'hv-sys-'));
});
afterEach(() => rm(sysFolder, { recursive: true, force: true }));

/** What the kernel shows below /sys/block, as far as it is read. */
async function block(name: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [file, text] of Object.entries(files)) {
    await mkdir(join(sysFolder, 'block', name, file, '..'), { recursive: true });
    await writeFile(join(sysFolder, 'block', name, file), `${text}\n`);
  }
}

describe('free devices', () => {
  it('are those without a client, first those without a size, by number', async () => {
    await block('nbd0', { size: '131072', pid: '4711' });
    await block('nbd10', { size: '0' });
    await block('nbd2', { size: '0' });
    await block('nbd1', { size: '0', pid: '12' }); // it is being attached
    await block('nbd3', { size: '8' }); // somebody had it open when it was detached
    await block('loop0', { size: '0' });
    expect(await freeNbdDevices(sysFolder)).toEqual([
      { devicePath: '/dev/nbd2', isUsed: false },
      { devicePath: '/dev/nbd10', isUsed: false },
      { devicePath: '/dev/nbd3', isUsed: true },
    ]);
  });

  it('are none where there is no module', async () => {
    expect(await freeNbdDevices(sysFolder)).toEqual([]);
    expect((await nbdNeeds(sysFolder)).isRoot).toBe(process.geteuid?.() === 0);
  });

  it('must have nodes in /dev where the module is loaded', async () => {
    const devFolder = join(sysFolder, 'dev');
    await mkdir(join(sysFolder, 'module/nbd'), { recursive: true });
    await block('nbd0', { size: '0' });
    expect(await nbdNeeds(sysFolder, devFolder)).toMatchObject({ hasModule: true, hasDevices: false });
    await mkdir(devFolder);
    await writeFile(join(devFolder, 'nbd0'), '');
    expect(await nbdNeeds(sysFolder, devFolder)).toMatchObject({ hasModule: true, hasDevices: true });
  });
});

describe('the devices of a disk', () => {
  it('are those whose client was started for its socket', async () => {
    const child = spawn('sleep', ['60']);
    try {
      const pid = child.pid ?? 0;
      const procFolder = join(sysFolder, 'proc');
      await mkdir(join(procFolder, String(pid)), { recursive: true });
      const words = ['nbd-client', ...attachArguments({ socketPath: '/run/m-1/nbd.sock', devicePath: '/dev/nbd4', sectorSizeBytes: 512, readOnly: false })]; // biome-ignore format: one thing
      await writeFile(join(procFolder, String(pid), 'cmdline'), `${words.join('\0')}\0`);
      await block('nbd4', { size: '8', pid: String(pid) });
      await block('nbd5', { size: '8', pid: String(pid) }); // its client is another device's
      await block('nbd6', { size: '8', pid: '0' });
      await block('nbd7', { size: '0' });
      const found = await nbdDevicesOn('/run/m-1/nbd.sock', { sysFolder, procFolder });
      expect(found).toMatchObject([{ devicePath: '/dev/nbd4', client: { pid } }]);
      expect(await nbdDevicesOn('/run/m-10/nbd.sock', { sysFolder, procFolder })).toEqual([]);
      expect(await nbdDevicesOn('/run/m-1', { sysFolder, procFolder })).toEqual([]);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

it('tells nbd-client the socket, the device, the sectors, and whether it may write', () => {
  const order = { socketPath: '/run/a b/nbd.sock', devicePath: '/dev/nbd3', sectorSizeBytes: 4096, readOnly: false };
  const words = ['-unix', '/run/a b/nbd.sock', '/dev/nbd3', '-name', 'disk', '-block-size', '4096', '-nonetlink'];
  expect(attachArguments(order)).toEqual(words);
  expect(attachArguments({ ...order, readOnly: true })).toEqual([...words, '-readonly']);
  expect(detachArguments('/dev/nbd3')).toEqual(['-nonetlink', '-disconnect', '/dev/nbd3']);
});

const EVERYTHING: NbdNeeds = {
  isRoot: true,
  hasModule: true,
  hasDevices: true,
  seesAllProcesses: true,
  hasClient: true,
};

it.each<[Partial<NbdNeeds>, RegExp | undefined]>([
  [{}, undefined],
  [{ isRoot: false }, /root/],
  [{ hasModule: false }, /module nbd/],
  [{ hasDevices: false }, /\/dev\/nbd0/],
  [{ seesAllProcesses: false }, /container/],
  [{ hasClient: false }, /nbd-client/],
])('needs root, the module and the program; here with: %o', (needs, missing) => {
  const obstacle = nbdObstacle({ ...EVERYTHING, ...needs });
  if (missing === undefined) expect(obstacle).toBeUndefined();
  else expect(obstacle).toEqual({ missing: expect.stringMatching(missing), fix: expect.stringMatching(/\S/) });
});

it('finds the kernel’s own device for a part by where it lies, not by its number', async () => {
  await block('nbd0', { size: '131072', 'nbd0p1/start': '2048', 'nbd0p1/size': '2048' });
  await block('nbd0', { 'nbd0p2/start': '4096', 'nbd0p2/size': '2' });
  await block('nbd0', { 'nbd0p5/start': '6144', 'nbd0p5/size': '1024' });
  const at = (startSector: number, sectors: number): Promise<string | undefined> =>
    kernelPartition('/dev/nbd0', { offset: startSector * 512, sizeBytes: sectors * 512 }, sysFolder);
  expect(await at(2048, 2048)).toBe('/dev/nbd0p1');
  expect(await at(6144, 1024)).toBe('/dev/nbd0p5');
  expect(await at(4096, 1024)).toBeUndefined();
  expect(await kernelPartition('/dev/nbd1', { offset: 0, sizeBytes: 512 }, sysFolder)).toBeUndefined();
});
