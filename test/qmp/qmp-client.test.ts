import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import {
  blockdevAdd,
  blockdevDelete,
  cont,
  deviceAdd,
  deviceDelete,
  QmpClient,
  queryBalloon,
  queryCpus,
  queryName,
  queryStatus,
  quit,
  screendumpPng,
  sendKey,
  setBalloon,
  stop,
  systemPowerdown,
  systemReset,
} from '../../src/protocols/qmp/index.ts';
import { QemuProcess, qemuMissing } from './qemu-process.ts';

describe.skipIf(qemuMissing)(`QmpClient against a real QEMU${qemuMissing ? ` (skipped: ${qemuMissing})` : ''}`, () => {
  it('negotiates, answers concurrent commands by id and names the machine', async () => {
    await using qemu = await QemuProcess.start(['-machine', 'none', '-name', 'web 1']);
    await using client = await qemu.connect();
    expect(client.version.major).toBeGreaterThanOrEqual(7);
    const [name, status, schema] = await Promise.all([
      queryName(client),
      queryStatus(client),
      client.execute<readonly unknown[]>('query-qmp-schema'), // the largest reply there is
    ]);
    expect(name).toBe('web 1');
    expect(status).toEqual({ state: 'prelaunch', text: 'prelaunch', isRunning: false });
    expect(schema.length).toBeGreaterThan(500);
  });

  it('turns refusals into codes and goes on', async () => {
    await using qemu = await QemuProcess.start(['-machine', 'none']);
    await using client = await qemu.connect();
    await expect(client.execute('no-such-command')).rejects.toMatchObject({
      code: 'unsupported',
      detail: { class: 'CommandNotFound', command: 'no-such-command' },
    });
    await expect(client.execute('device_del', { id: 'nothing' })).rejects.toMatchObject({ code: 'not-found' });
    await expect(client.execute('blockdev-add', { driver: 'no-such' })).rejects.toMatchObject({
      code: 'process-failed',
      detail: { class: 'GenericError' },
    });
    await expect(queryBalloon(client)).resolves.toBeUndefined();
    await expect(queryStatus(client)).resolves.toMatchObject({ state: 'prelaunch' });
  });

  it('tells within its timeout that another client holds the monitor, and connects once that one is gone', async () => {
    await using qemu = await QemuProcess.start(['-machine', 'none']);
    const first = await qemu.connect();
    await expect(qemu.connect({ greetingTimeoutMs: 200 })).rejects.toMatchObject({
      code: 'timeout',
      hint: expect.stringContaining('another process'),
    });
    await first.close();
    await expect(first.execute('query-status')).rejects.toMatchObject({ code: 'aborted' });
    await using again = await qemu.connect();
    await expect(queryStatus(again)).resolves.toMatchObject({ state: 'prelaunch' });
  });

  it('fails what waits when QEMU is killed', async () => {
    await using qemu = await QemuProcess.start(['-machine', 'none']);
    await using client = await qemu.connect();
    const event = client.waitForEvent('NEVER');
    const events = client.events();
    qemu.child.kill('SIGKILL');
    await expect(event).rejects.toMatchObject({ code: 'process-failed' });
    await client.closed;
    await expect(client.execute('query-status')).rejects.toMatchObject({ code: 'process-failed' });
    await expect(events.next()).resolves.toEqual({ value: undefined, done: true });
    await expect(QmpClient.connect(qemu.monitorPath)).rejects.toMatchObject({ code: 'io' });
  });

  it('runs the commands of a machine: run states, processors, balloon, keys, screen, power button, reset, quit', async () => {
    await using qemu = await QemuProcess.start([
      ...['-machine', 'q35', '-m', '64', '-smp', '2', '-vga', 'std', '-device', 'virtio-balloon-pci', '-no-shutdown'],
    ]);
    await using client = await qemu.connect();
    const seen: string[] = [];
    const stopListening = client.onEvent((event) => seen.push(event.name));
    await cont(client);
    await expect(queryStatus(client)).resolves.toMatchObject({ state: 'running', isRunning: true });
    await stop(client);
    await expect(queryStatus(client)).resolves.toMatchObject({ state: 'paused', isRunning: false });
    await cont(client);
    expect((await queryCpus(client)).map((cpu) => cpu.index)).toEqual([0, 1]);
    await expect(queryBalloon(client)).resolves.toBe(64 * 2 ** 20);
    await setBalloon(client, 32 * 2 ** 20);
    await sendKey(client, ['ctrl', 'alt', 'delete']);
    await screendumpPng(client, qemu.path('screen.png'));
    expect((await readFile(qemu.path('screen.png'))).subarray(1, 4).toString()).toBe('PNG');
    const powerdown = client.waitForEvent('POWERDOWN');
    await systemPowerdown(client);
    expect((await powerdown).timestampMs).toBeGreaterThan(Date.now() - 60_000);
    const reset = client.waitForEvent('RESET', (event) => event.data.guest === false);
    await systemReset(client);
    await reset;
    stopListening();
    expect(seen.slice(0, 3)).toEqual(['RESUME', 'STOP', 'RESUME']);
    await quit(client);
    await qemu.exited();
  });

  it('plugs a disk in and out while the monitor tells of it', async () => {
    await using qemu = await QemuProcess.start([
      ...['-machine', 'q35', '-m', '64', '-device', 'virtio-scsi-pci,id=scsi0'],
    ]);
    await using client = await qemu.connect();
    await blockdevAdd(client, { driver: 'null-co', size: 1048576, 'node-name': 'disk1', 'read-zeroes': true });
    await deviceAdd(client, { driver: 'scsi-hd', id: 'dev1', drive: 'disk1', bus: 'scsi0.0' });
    await expect(blockdevDelete(client, 'disk1')).rejects.toMatchObject({ code: 'process-failed' });
    await deviceDelete(client, 'dev1', { timeoutMs: 5000 });
    await blockdevDelete(client, 'disk1');
    await expect(deviceDelete(client, 'dev1', { timeoutMs: 5000 })).rejects.toMatchObject({ code: 'not-found' });
  });

  it('says that the guest holds a device which it does not release', async () => {
    await using qemu = await QemuProcess.start(['-machine', 'q35', '-m', '64', '-device', 'pcie-root-port,id=rp1']);
    await using client = await qemu.connect();
    await deviceAdd(client, { driver: 'virtio-rng-pci', id: 'rng1', bus: 'rp1' });
    await cont(client);
    await expect(deviceDelete(client, 'rng1', { timeoutMs: 300 })).rejects.toMatchObject({
      code: 'timeout',
      detail: { deviceId: 'rng1' },
    });
  });

  it('stops waiting at an abort and takes the late answer for what it is', async () => {
    await using qemu = await QemuProcess.start(['-machine', 'none']);
    await using client = await qemu.connect();
    const abort = new AbortController();
    const waiting = client.execute('query-qmp-schema', {}, { signal: abort.signal });
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    qemu.child.kill('SIGSTOP');
    await expect(client.execute('query-name', {}, { timeoutMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
    qemu.child.kill('SIGCONT');
    await expect(queryStatus(client)).resolves.toMatchObject({ state: 'prelaunch' });
    expect(client.failure).toBeUndefined();
  });
});
