import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll, withDeadline } from '../../src/async/index.ts';
import { buildLinuxTemplate } from '../../src/provision/index.ts';
import { BareGuest, type Generation } from './bare-guest.ts';

const GREETING = /hv linux guest \d+ ready: kernel (\S+), uptime ([\d.]+) s/;
/** Generous: the machine may be shared. What it takes on an idle one is printed. */
const BOOT_TIMEOUT_MS = 60_000;
const PROMPT = /hv-guest:[^\n]*# $/;

interface AgentInterface {
  readonly name: string;
  readonly 'ip-addresses'?: readonly { readonly 'ip-address': string; readonly 'ip-address-type': string }[];
}

let folder: string;
let template: string;
let kernelVersion: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-template-'));
  template = join(folder, 'linux.vhdx');
  ({ kernelVersion } = await buildLinuxTemplate(template));
}, 120_000);

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function boot(generation: Generation): Promise<BareGuest> {
  const disk = join(folder, `generation-${generation}-${Math.random()}.vhdx`);
  await copyFile(template, disk);
  const guest = await BareGuest.start(generation, disk);
  try {
    await guest.waitForConsole(GREETING, BOOT_TIMEOUT_MS);
    console.log(`generation ${generation}: greeting after ${Math.round(performance.now() - guest.startedAt)} ms`);
    await guest.waitForConsole(PROMPT, 5000);
  } catch (error) {
    await guest[Symbol.asyncDispose]();
    throw error;
  }
  return guest;
}

describe.each([1, 2] as const)('the Linux template in generation %d', (generation) => {
  let guest: BareGuest;

  beforeAll(async () => {
    guest = await boot(generation);
  }, 90_000);

  afterAll(async () => {
    await guest?.[Symbol.asyncDispose]();
  });

  it('greets on the serial console with the kernel that was built in, and answers there', async () => {
    expect(GREETING.exec(guest.consoleText)?.[1]).toBe(kernelVersion);
    expect(await guest.type('echo hi')).toBe('hi\n');
    expect(await guest.type('uname -r')).toBe(`${kernelVersion}\n`);
  });

  it('shows text on its screen and takes keys there', async () => {
    const { width, height, lit } = await guest.screen();
    expect(width).toBeGreaterThanOrEqual(640);
    expect(height).toBeGreaterThanOrEqual(400);
    expect(lit).toBeGreaterThan(0.001);
    expect(lit).toBeLessThan(0.5);
    for (const keys of [['shift', 'dot'], ['slash'], ['t'], ['m'], ['p'], ['slash'], ['k'], ['ret']]) {
      await guest.qmp('send-key', { keys: keys.map((data) => ({ type: 'qcode', data })) });
      // Keys that come faster than the hold time overlap.
      await new Promise((resolve) => setTimeout(resolve, 150));
    }
    expect(await guest.type('sleep 1; ls /tmp/k')).toBe('/tmp/k\n');
  });

  it('takes an address on every adapter, which the agent reports', async () => {
    await guest.syncAgent();
    const addresses = await poll(
      async () => {
        const interfaces = (await guest.agent('guest-network-get-interfaces')) as AgentInterface[];
        const found = interfaces
          .filter(({ name }) => name.startsWith('eth'))
          .map((nic) => nic['ip-addresses']?.find((address) => address['ip-address-type'] === 'ipv4')?.['ip-address']);
        return found.length === 2 && found.every((address) => address !== undefined) ? found : undefined;
      },
      { timeoutMs: 20_000, intervalMs: 200, doing: 'waiting for two addresses' },
    );
    expect(addresses.sort()).toEqual(['10.0.2.15', '10.7.0.15']);
  });

  it('asks again when an adapter is unplugged and plugged in', async () => {
    await guest.type('rm -f /run/leases');
    await guest.qmp('set_link', { name: 'net0', up: false });
    await poll(async () => (await guest.type('cat /run/net/eth0.carrier')) === '0\n' || undefined, {
      timeoutMs: 15_000,
      doing: 'waiting for the guest to see the cable out',
    });
    await guest.qmp('set_link', { name: 'net0', up: true });
    await poll(async () => (await guest.type('cat /run/leases')).includes('eth0 10.0.2.15/24') || undefined, {
      timeoutMs: 15_000,
      doing: 'waiting for a new lease',
    });
  });

  it('takes an adapter that is plugged in', async () => {
    const bus = generation === 1 ? {} : { bus: 'port0' };
    await guest.qmp('netdev_add', { type: 'user', id: 'net2', restrict: true, net: '10.8.0.0/24' });
    await guest.qmp('device_add', { driver: 'virtio-net-pci', id: 'nic2', netdev: 'net2', romfile: '', ...bus });
    await poll(async () => (await guest.type('cat /run/leases')).includes('10.8.0.15/24') || undefined, {
      timeoutMs: 20_000,
      intervalMs: 200,
      doing: 'waiting for an address on the new adapter',
    });
  });

  // In Generation 2 OVMF with SMM hangs the whole machine here (QEMU 7.2 with TCG), before the guest has its turn.
  if (generation === 1) {
    it('takes a processor that is plugged in', async () => {
      const place = { 'socket-id': 0, 'core-id': 2, 'thread-id': 0 };
      await guest.qmp('device_add', { driver: 'qemu64-x86_64-cpu', id: 'cpu2', ...place });
      await poll(async () => (await guest.type('nproc')) === '3\n' || undefined, {
        timeoutMs: 20_000,
        intervalMs: 200,
        doing: 'waiting for the third processor',
      });
    });
  }

  it('runs programs and moves files through the agent', async () => {
    await guest.syncAgent();
    expect(await guest.exec('/bin/sh', '-c', 'echo out; exit 7')).toEqual({ exitCode: 7, stdout: 'out\n' });
    const handle = await guest.agent('guest-file-open', { path: '/data/by-agent', mode: 'w+' });
    const content = Buffer.from('bytes \0 and more').toString('base64');
    expect(await guest.agent('guest-file-write', { handle, 'buf-b64': content })).toMatchObject({ count: 16 });
    await guest.agent('guest-file-seek', { handle, offset: 0, whence: 0 });
    expect(await guest.agent('guest-file-read', { handle, count: 100 })).toMatchObject({ 'buf-b64': content });
    await guest.agent('guest-file-close', { handle });
    expect(await guest.agent('guest-get-host-name')).toEqual({ 'host-name': 'hv-guest' });
    expect(await guest.agent('guest-get-osinfo')).toMatchObject({ id: 'hv-guest', 'kernel-release': kernelVersion });
  });

  it('freezes and thaws its data disk', async () => {
    await guest.syncAgent();
    expect(await guest.agent('guest-fsfreeze-freeze')).toBe(1);
    try {
      expect(await guest.agent('guest-fsfreeze-status')).toBe('frozen');
    } finally {
      await guest.agent('guest-fsfreeze-thaw');
    }
    expect(await guest.agent('guest-fsfreeze-status')).toBe('thawed');
    expect(await guest.type('echo x >/data/after-thaw && cat /data/after-thaw')).toBe('x\n');
  });

  it('has its clock right and reaps what ends', async () => {
    const clock = Number(await guest.type('date +%s'));
    expect(Math.abs(clock - Date.now() / 1000)).toBeLessThan(5);
    // The inner shell becomes a process that knows nothing of its child: init inherits it.
    await guest.type('(sh -c "sleep 0.1 & exec sleep 0.05" &); sleep 1');
    const isClean = async (): Promise<true | undefined> => {
      const zombies = await guest.type("grep -h '^[0-9]* ([^)]*) Z' /proc/[0-9]*/stat 2>/dev/null || :");
      return zombies === '' || undefined;
    };
    expect(await poll(isClean, { timeoutMs: 5000, intervalMs: 300, doing: 'waiting for init to reap' })).toBe(true);
  });

  it('reboots when the agent is told so, and keeps /data', async () => {
    expect(await guest.type('mount | grep /data')).toMatch(/ on \/data type ext4 \(rw/);
    await guest.type('echo kept >/data/kept');
    const from = guest.consoleText.length;
    await guest.syncAgent();
    guest.tellAgent('guest-shutdown', { mode: 'reboot' });
    await guest.waitForConsole(GREETING, BOOT_TIMEOUT_MS, from);
    await guest.waitForConsole(PROMPT, 5000, from);
    expect(await guest.type('cat /data/kept')).toBe('kept\n');
  }, 90_000);

  it('powers off on the button, cleanly', async () => {
    await guest.qmp('system_powerdown');
    expect(await withDeadline(guest.exit, 20_000, 'powering off')).toBe(0);
    expect(guest.consoleText).toMatch(/going down: poweroff/);
  });
});
