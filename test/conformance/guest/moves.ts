import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sleep } from '../../../src/async/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';
import { GuestConsole } from './guest-console.ts';
import { BOOT_MS, boot, describeMachinesOf, inGuest, linuxMachine } from './machine.ts';
import { readPng } from './png.ts';

const GREETING = /hv linux guest \d+ ready/g;

/** A guest through all the moves of its machine. The machines are booted once; each case leaves them running. */
export function describeMoves(engine: string, make: MakeFixture): void {
  describe(`${engine}: guests and their machines' moves`, () => {
    let fixture: HostFixture;
    let first = '';
    let second = '';
    beforeAll(async () => {
      fixture = await make();
      first = await linuxMachine(fixture, 'first', { generation: 1 });
      second = await linuxMachine(fixture, 'second', { generation: 2 });
      await Promise.all([first, second].map((id) => boot(fixture, id)));
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail') console.error(task.name, await describeMachinesOf(fixture));
    });
    afterAll(() => fixture.close());

    const uptime = async (id: string): Promise<number> =>
      Number((await inGuest(fixture, id, 'cat /proc/uptime')).split(' ')[0]);
    const greetings = async (id: string): Promise<number> =>
      [...(await fixture.host.vms.logs(id)).serial.matchAll(GREETING)].length;
    const bootedAgain = async (id: string, before: number): Promise<void> => {
      const deadline = performance.now() + BOOT_MS;
      while ((await greetings(id)) === before) {
        if (performance.now() > deadline) throw new Error('the guest did not boot again');
        await sleep(100);
      }
    };

    it.each([1, 2] as const)('boots in Generation %i, answers through its agent and gets an address', async (gen) => {
      const id = gen === 1 ? first : second;
      expect(await fixture.host.vms.waitFor(id, 'ip', { timeoutMs: BOOT_MS })).toBe(true);
      const info = await fixture.host.vms.info(id);
      expect(info).toMatchObject({ state: 'Running', generation: gen, heartbeat: 'ok', stateReason: null });
      expect(info.networkAdapters[0]?.ipAddresses).toContainEqual(expect.stringMatching(/^\d+\.\d+\.\d+\.\d+$/));
      expect(info.uptimeSeconds).toBeGreaterThan(0);
      expect(info.processes?.engine).toBeGreaterThan(1);
      expect(await fixture.host.guest.heartbeat(id)).toBe(true);
      const [adapter] = await fixture.host.guest.ipAddresses(id);
      expect(adapter?.macAddress).toBe(info.networkAdapters[0]?.macAddress);
    });

    it('answers on the serial port, one connection after another', async () => {
      for (const text of ['once', 'again']) expect(await inGuest(fixture, first, `echo ${text}`)).toBe(text);
      expect(await inGuest(fixture, second, 'grep -c /data /proc/mounts')).toBe('1');
    });

    it('gives each machine the processors and the memory that it was defined with', async () => {
      expect(await inGuest(fixture, first, 'grep -c ^processor /proc/cpuinfo')).toBe('1');
      const kib = Number(await inGuest(fixture, first, "awk '/MemTotal/ { print $2 }' /proc/meminfo"));
      expect(kib).toBeGreaterThan(180 * 1024);
      expect(kib).toBeLessThan(256 * 1024);
    });

    it('tells machines apart: each guest has its own identity and disk', async () => {
      const uuids = await Promise.all(
        [first, second].map((id) => inGuest(fixture, id, 'cat /sys/class/dmi/id/product_uuid')),
      );
      expect(uuids).toEqual([first, second]);
      await inGuest(fixture, first, 'echo of-first >/data/whose; sync');
      expect(await inGuest(fixture, second, 'ls /data/whose 2>/dev/null')).toBe('');
    });

    it('keeps what the guest said, and cuts the older part first', async () => {
      const { serial } = await fixture.host.vms.logs(first);
      expect(serial).toMatch(GREETING);
      const short = (await fixture.host.vms.logs(first, { maxBytes: 50 })).serial;
      expect(Buffer.byteLength(short)).toBeLessThanOrEqual(50);
      expect(serial.endsWith(short.slice(-10))).toBe(true);
    });

    it.each([1, 2] as const)('shows the screen of Generation %i as a picture with text on it', async (gen) => {
      const picture = readPng(await fixture.host.vms.screenshot(gen === 1 ? first : second));
      expect(picture.width).toBeGreaterThanOrEqual(640);
      expect(picture.height).toBeGreaterThanOrEqual(400);
      expect(picture.distinctBytes).toBeGreaterThan(1);
    });

    it('measures what the guest uses: its processor, its disk', async () => {
      const { events, vms } = fixture.host;
      const before = await events.measure(first);
      await inGuest(
        fixture,
        first,
        'dd if=/dev/zero of=/data/load bs=1M count=16 conv=fsync 2>/dev/null; rm /data/load',
      );
      const after = await events.measure(first);
      expect(after.processorSeconds).toBeGreaterThan(before.processorSeconds);
      expect(after.virtualProcessorSeconds).toHaveLength(1);
      expect(after.virtualProcessorSeconds[0]).toBeGreaterThan(before.virtualProcessorSeconds[0] ?? 0);
      expect(after.assignedBytes).toBe((await vms.info(first)).memoryBytes);
      expect(after.residentBytes).toBeGreaterThan(64 * 2 ** 20);
      const [written, earlier] = [after, before].map(({ disks }) => disks[0]?.writtenBytes ?? 0);
      expect(written).toBeGreaterThanOrEqual((earlier ?? 0) + 16 * 2 ** 20);
      expect(after.adapters.map(({ macAddress }) => macAddress)).toEqual(
        (await vms.info(first)).networkAdapters.map(({ macAddress }) => macAddress),
      );
    });

    it('stops the guest’s clock while paused, and goes on where it was', async () => {
      const { vms } = fixture.host;
      await inGuest(fixture, first, 'echo here >/run/mark');
      const before = await uptime(first);
      await vms.pause(first);
      expect((await vms.info(first)).state).toBe('Paused');
      await vms.pause(first);
      await expect(vms.stop(first)).rejects.toMatchObject({ code: 'invalid-state' });
      expect((await vms.info(first)).heartbeat).toBeNull();
      await sleep(3000);
      await vms.resume(first);
      await vms.resume(first);
      const after = await uptime(first);
      expect(after).toBeGreaterThanOrEqual(before);
      expect(after - before).toBeLessThan(2.5);
      expect(await inGuest(fixture, first, 'cat /run/mark')).toBe('here');
    });

    it('starts a paused machine, which is the same as resuming it', async () => {
      await fixture.host.vms.pause(second);
      await fixture.host.vms.start(second);
      expect((await fixture.host.vms.info(second)).state).toBe('Running');
      expect(await inGuest(fixture, second, 'echo on')).toBe('on');
    });

    it.each([1, 2] as const)('saves Generation %i and starts it with its memory', async (gen) => {
      const id = gen === 1 ? first : second;
      const { vms } = fixture.host;
      const processes = (await vms.info(id)).processes;
      await inGuest(
        fixture,
        id,
        '(i=0; while :; do i=$((i+1)); echo $i >/run/count; usleep 50000; done) >/dev/null 2>&1 & echo $! >/run/counter',
      );
      const before = await uptime(id);
      await vms.save(id);
      expect(await vms.info(id)).toMatchObject({ state: 'Saved', processes: null, uptimeSeconds: 0 });
      await vms.save(id);
      await sleep(1500);
      await vms.start(id);
      expect((await vms.info(id)).state).toBe('Running');
      expect((await vms.info(id)).processes?.engine).not.toBe(processes?.engine);
      await using console = await GuestConsole.open(fixture.host, id);
      const after = Number((await console.run('cat /proc/uptime')).split(' ')[0]);
      expect(after).toBeGreaterThanOrEqual(before);
      expect(after - before).toBeLessThan(2.5);
      const [one, two] = (await console.run('cat /run/count; usleep 500000; cat /run/count')).split('\n').map(Number);
      expect(two).toBeGreaterThan(one ?? Number.POSITIVE_INFINITY);
      await console.run('kill $(cat /run/counter)');
      expect(await console.run('dmesg | grep -ciE "i/o error|blocked for|stall" || :')).toBe('0');
      expect(await vms.waitFor(id, 'ready', { timeoutMs: 20_000 })).toBe(true);
    });

    it('saves a paused machine; starting it lets it run', async () => {
      const { vms } = fixture.host;
      await vms.pause(second);
      await vms.save(second);
      expect((await vms.info(second)).state).toBe('Saved');
      await vms.resume(second);
      expect((await vms.info(second)).state).toBe('Running');
      expect(await inGuest(fixture, second, 'echo on')).toBe('on');
    });

    it('lets the guest run on when saving is cancelled', async () => {
      const { vms } = fixture.host;
      const control = new AbortController();
      const saving = vms.save(second, { signal: control.signal, onProgress: () => control.abort() });
      await expect(saving).rejects.toMatchObject({ code: 'aborted' });
      await vms.waitFor(second, 'ready', { timeoutMs: 20_000 });
      expect((await vms.info(second)).state).toBe('Running');
      expect(await inGuest(fixture, second, 'echo on')).toBe('on');
    });

    it('says so when a guest ignores the power button, and leaves it running', async () => {
      const { vms } = fixture.host;
      await inGuest(fixture, first, 'kill $(pidof acpid)');
      const failure = expect(vms.stop(first, { timeoutMs: 2000 })).rejects;
      await failure.toMatchObject({ code: 'timeout', message: expect.stringContaining('still running') });
      expect((await vms.info(first)).state).toBe('Running');
      expect(await inGuest(fixture, first, 'echo on')).toBe('on');
    });

    it('waits no longer than it is told, and stops waiting when the signal says so', async () => {
      const { vms } = fixture.host;
      const began = performance.now();
      expect(await vms.waitFor(first, 'off', { timeoutMs: 300 })).toBe(false);
      expect(performance.now() - began).toBeLessThan(2000);
      const signal = AbortSignal.timeout(200);
      await expect(vms.waitFor(first, 'off', { signal })).rejects.toMatchObject({ code: 'aborted' });
    });

    it('reboots on reset: memory is lost, the disk and the machine stay', async () => {
      const { vms } = fixture.host;
      const { processes } = await vms.info(first);
      await inGuest(fixture, first, 'echo kept >/data/kept; sync; echo lost >/run/lost');
      const before = await greetings(first);
      await vms.reset(first);
      expect((await vms.info(first)).state).toBe('Running');
      await bootedAgain(first, before);
      expect(await inGuest(fixture, first, 'cat /data/kept; ls /run/lost 2>/dev/null')).toBe('kept');
      expect((await vms.info(first)).processes).toEqual(processes);
    });

    it('keeps running when the guest reboots itself', async () => {
      const { vms } = fixture.host;
      const { processes } = await vms.info(second);
      const before = await greetings(second);
      await using console = await GuestConsole.open(fixture.host, second);
      console.type('reboot');
      await bootedAgain(second, before);
      expect(await vms.info(second)).toMatchObject({ state: 'Running', processes });
      expect(await vms.waitFor(second, 'ready', { timeoutMs: BOOT_MS })).toBe(true);
    });

    it('says that the guest’s kernel crashed, and leaves what then to the guest', async () => {
      const { vms, events } = fixture.host;
      const signal = AbortSignal.timeout(30_000);
      const panic = (async () => {
        for await (const { kind, vmId } of events.follow({ signal })) if (kind === 'guest-panic') return vmId;
        return null;
      })();
      await inGuest(fixture, second, 'echo 3 >/proc/sys/kernel/panic; echo 1 >/proc/sys/kernel/sysrq');
      const before = await greetings(second);
      await using console = await GuestConsole.open(fixture.host, second);
      console.type('echo c >/proc/sysrq-trigger');
      expect(await panic).toBe(second);
      expect((await vms.info(second)).state).toBe('Running');
      await bootedAgain(second, before); // as its kernel was told, after three seconds
      expect(await vms.waitFor(second, 'ready', { timeoutMs: BOOT_MS })).toBe(true);
    });

    it('shuts the guest down in order, and says how the machine went off', async () => {
      const { vms } = fixture.host;
      const goesOff = vms.waitFor(second, 'off', { timeoutMs: 60_000 });
      await vms.stop(second, { timeoutMs: 60_000 });
      expect(await goesOff).toBe(true);
      const info = await vms.info(second);
      expect(info).toMatchObject({ state: 'Off', processes: null, heartbeat: null });
      expect(info.stateReason).toMatch(/guest shut down/);
      expect((await vms.logs(second)).serial).toMatch(/going down: poweroff/);
      const states = (await fixture.host.events.list({ vmId: second })).flatMap((event) =>
        event.kind === 'state' ? [event.state] : [],
      );
      expect(states.slice(0, 2)).toEqual(['Starting', 'Running']);
      for (const state of ['Paused', 'Saving', 'Saved'] as const) expect(states).toContain(state);
      expect(states.slice(-2)).toEqual(['Stopping', 'Off']);
    });

    it('is Off with the reason when the guest switches itself off', async () => {
      const { vms } = fixture.host;
      await using console = await GuestConsole.open(fixture.host, first);
      console.type('poweroff');
      expect(await vms.waitFor(first, 'off', { timeoutMs: 60_000 })).toBe(true);
      expect((await vms.info(first)).stateReason).toMatch(/guest shut down/);
    });

    it('runs a machine without any disk until its power is cut', async () => {
      const { vms } = fixture.host;
      for (const generation of [1, 2] as const) {
        const { id } = await vms.create({ name: `diskless ${generation}`, generation, memoryBytes: 128 * 2 ** 20 });
        await vms.start(id);
        expect((await vms.info(id)).state).toBe('Running');
        expect(readPng(await vms.screenshot(id)).width).toBeGreaterThan(0);
        await expect(vms.delete(id)).rejects.toMatchObject({ code: 'invalid-state' });
        await vms.forceStop(id);
        const info = await vms.info(id);
        expect(info).toMatchObject({ state: 'Off', processes: null });
        expect(info.stateReason).toMatch(/switched off/);
        await vms.delete(id);
      }
    });
  });
}
