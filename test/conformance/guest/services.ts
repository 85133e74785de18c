import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../../src/async/index.ts';
import type { GuestExecOptions } from '../../../src/model/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';
import { boot, describeMachinesOf, linuxMachine } from './machine.ts';

/** What a host does with a guest through its agent, its keyboard and its screen. One machine, booted once. */
export function describeGuestServices(engine: string, make: MakeFixture): void {
  describe(`${engine}: guest services`, () => {
    let fixture: HostFixture;
    let id = '';
    beforeAll(async () => {
      fixture = await make();
      id = await linuxMachine(fixture, 'served', { generation: 2 });
      await fixture.host.guest.setKeyValuePair(id, 'before', 'the first start');
      await boot(fixture, id);
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === 'fail') console.error(task.name, await describeMachinesOf(fixture));
    });
    afterAll(() => fixture.close());

    const run = async (
      words: readonly string[],
      options: GuestExecOptions = {},
    ): Promise<{ status: number | null; out: string; err: string }> => {
      const [program = '', ...args] = words;
      const { exitCode, stdout, stderr } = await fixture.host.guest.exec(id, program, args, options);
      return { status: exitCode, out: Buffer.from(stdout).toString(), err: Buffer.from(stderr).toString() };
    };
    const sh = async (script: string): Promise<string> => (await run(['sh', '-c', script])).out;

    it('runs programs with their words as they are, and says how they ended', async () => {
      expect(await run(['sh', '-c', 'echo out; echo err >&2; exit 7'])).toEqual({
        status: 7,
        out: 'out\n',
        err: 'err\n',
      });
      const words = ['$HOME', '"q"', "it's", '', '*', 'a b', '; exit 1', 'ä'];
      expect((await run(['printf', '%s|', ...words])).out).toBe(`${words.join('|')}|`);
      expect(await fixture.host.guest.exec(id, 'sh', ['-c', 'kill -9 $$'])).toMatchObject({
        exitCode: null,
        signal: 9,
      });
      await expect(run(['no-such-program'])).rejects.toMatchObject({ code: 'guest-failed' });
      await expect(run([''])).rejects.toMatchObject({ code: 'invalid-argument' });
      await expect(run(['echo', 'nul\0'])).rejects.toMatchObject({ code: 'invalid-argument' });
    });

    it('gives them an environment, a working folder and input of any size', async () => {
      const environment = { ONE: 'a b', TWO: '$x' };
      expect((await run(['sh', '-c', 'echo "$ONE|$TWO|$PWD"'], { environment, workingDirectory: '/data' })).out).toBe(
        'a b|$x|/data\n',
      );
      expect((await run(['tr', 'a-c', 'x-z'], { input: Buffer.from('abc') })).out).toBe('xyz');
      const pieces = Array.from({ length: 12 }, () => randomBytes(100_000));
      const input = (async function* () {
        yield* pieces;
      })();
      const { out } = await run(['sh', '-c', 'cat >/tmp/input; sha256sum </tmp/input; rm /tmp/input'], { input });
      expect(out.split(' ')[0]).toBe(createHash('sha256').update(Buffer.concat(pieces)).digest('hex'));
      expect(await sh('ls /tmp')).toBe('');
    });

    it('kills what runs too long, and what is cancelled', async () => {
      await expect(run(['sleep', '471'], { timeoutMs: 500 })).rejects.toMatchObject({
        code: 'timeout',
        detail: { killed: true },
      });
      const signal = AbortSignal.timeout(500);
      await expect(fixture.host.guest.exec(id, 'sleep', ['471'], { signal })).rejects.toMatchObject({
        code: 'aborted',
        detail: { killed: true },
      });
      expect(await sh('ps | grep -c "[s]leep 471"; :')).toBe('0\n');
    });

    it('answers other questions while a program runs', async () => {
      let isOver = false;
      const long = run(['sleep', '3']).then((ended) => {
        isOver = true;
        return ended;
      });
      expect(await fixture.host.guest.heartbeat(id)).toBe(true);
      expect((await fixture.host.vms.info(id)).heartbeat).toBe('ok');
      expect(await sh('echo meanwhile')).toBe('meanwhile\n');
      expect(isOver).toBe(false);
      expect((await long).status).toBe(0);
    });

    it('copies files both ways, whole and verified', async () => {
      const bytes = randomBytes(700_000);
      const local = join(fixture.folder, "it's a file");
      await writeFile(local, bytes, { mode: 0o750 });
      const { guest } = fixture.host;
      const seen: number[] = [];
      const sent = await guest.copyTo(id, local, '/data/', { onProgress: ({ done }) => seen.push(done) });
      expect(sent).toMatchObject({ path: "/data/it's a file", sizeBytes: bytes.length, verifiedBy: 'hash' });
      expect(seen.at(-1)).toBe(bytes.length);
      expect(await sh('stat -c %a-%s "/data/it\'s a file"')).toBe('750-700000\n');
      const back = join(fixture.folder, 'back');
      expect(await guest.copyFrom(id, sent.path, back)).toMatchObject({ path: back, sha256: sent.sha256 });
      expect((await readFile(back)).equals(bytes)).toBe(true);
      expect(await guest.copyFrom(id, '/etc/hostname', fixture.folder)).toMatchObject({
        path: join(fixture.folder, 'hostname'),
      });
      await writeFile(local, '');
      expect(await guest.copyTo(id, local, '/data/empty')).toMatchObject({ sizeBytes: 0 });
    });

    it('replaces nothing unless told to, and leaves nothing of a copy that fails', async () => {
      const { guest } = fixture.host;
      const local = join(fixture.folder, 'large');
      await writeFile(local, randomBytes(3_000_000));
      await sh('mkdir /data/clean; echo old >/data/clean/kept; mkfifo /data/clean/pipe');
      const refused = async (work: Promise<unknown>, code: string): Promise<void> => {
        await expect(work).rejects.toMatchObject({ code });
      };
      await refused(guest.copyTo(id, local, '/data/clean/kept'), 'already-exists');
      await refused(guest.copyTo(id, local, '/data/none/x'), 'not-found');
      await refused(guest.copyTo(id, local, '/data/clean/pipe', { force: true }), 'invalid-argument');
      await refused(guest.copyTo(id, local, 'relative'), 'invalid-argument');
      await refused(guest.copyTo(id, join(fixture.folder, 'none'), '/data/clean/x'), 'not-found');
      await refused(guest.copyTo(id, fixture.folder, '/data/clean/x'), 'invalid-argument');
      await refused(guest.copyFrom(id, '/data/clean/none', join(fixture.folder, 'x')), 'not-found');
      await refused(guest.copyFrom(id, '/data/clean/pipe', join(fixture.folder, 'x')), 'invalid-argument');
      await refused(guest.copyFrom(id, '/data/clean/kept', local), 'already-exists');
      const control = new AbortController();
      const onProgress = (): void => control.abort();
      const options = { force: true, signal: control.signal, onProgress };
      await refused(guest.copyTo(id, local, '/data/clean/kept', options), 'aborted');
      expect(await sh('cat /data/clean/kept; ls -A /data/clean')).toBe('old\nkept\npipe\n');
      await sh('head -c 3000000 /dev/zero >/data/clean/zeros');
      const files = await readdir(fixture.folder);
      const second = new AbortController();
      await refused(
        guest.copyFrom(id, '/data/clean/zeros', join(fixture.folder, 'zeros'), {
          signal: second.signal,
          onProgress: () => second.abort(),
        }),
        'aborted',
      );
      expect(await readdir(fixture.folder)).toEqual(files);
      await guest.copyTo(id, join(fixture.folder, 'hostname'), '/data/clean/kept', { force: true });
      expect(await sh('cat /data/clean/kept')).toBe('hv-guest\n');
    });

    it('shows what the guest says about itself', async () => {
      expect(await fixture.host.guest.info(id)).toMatchObject({
        capabilities: { exec: true, fileTransfer: true, setTime: true, shutdown: true },
        hostName: 'hv-guest',
        operatingSystem: { id: 'hv-guest', machine: 'x86_64' },
        timeZone: { offsetSeconds: 0 },
        users: [],
        fileSystems: [{ mountPoint: '/data', type: 'ext4' }],
      });
    });

    it('exchanges key-value pairs, also those that were set while the guest could not hear', async () => {
      const { guest, vms } = fixture.host;
      const told = (): Promise<string> => sh('cat /var/lib/hv/kvp/host');
      await poll(async () => ((await told()) === 'before=the first start\n' ? true : undefined), {
        timeoutMs: 20_000,
        doing: 'waiting for what was set before the start',
      });
      await guest.setKeyValuePair(id, 'role', 'a=b "c" $(d)');
      expect(await told()).toBe('before=the first start\nrole=a=b "c" $(d)\n');
      await sh("printf 'state=up\\nno pair\\n=x\\nesc=\\033[31mred\\n' >/var/lib/hv/kvp/guest");
      expect((await guest.keyValuePairs(id)).slice(2)).toEqual([
        { source: 'guest', key: 'state', value: 'up' },
        { source: 'guest', key: 'esc', value: 'red' },
      ]);
      await guest.deleteKeyValuePair(id, 'before');
      expect(await told()).toBe('role=a=b "c" $(d)\n');
      await vms.pause(id);
      await guest.setKeyValuePair(id, 'role', 'set while paused');
      await vms.resume(id);
      await poll(async () => ((await told()) === 'role=set while paused\n' ? true : undefined), {
        timeoutMs: 20_000,
        doing: 'waiting for what was set while it was paused',
      });
      await sh('yes x=y | head -n 100 >/var/lib/hv/kvp/guest');
      await expect(guest.keyValuePairs(id)).rejects.toMatchObject({ code: 'protocol' });
      await sh('rm /var/lib/hv/kvp/guest');
    });

    it('sets the guest’s clock when asked, after a pause and after a saved state', async () => {
      const { guest, vms } = fixture.host;
      const offset = async (): Promise<number> => Math.abs(Date.parse((await guest.info(id)).time ?? '') - Date.now());
      const untilRight = (): Promise<true> =>
        poll(async () => ((await offset()) < 3000 ? true : undefined), { timeoutMs: 30_000, doing: 'the clock' });
      const misset = (): Promise<string> => sh('date -s "2001-01-01 00:00:00"');
      await misset();
      expect((await guest.setTime(id)).offsetMs).toBeLessThan(-20 * 365 * 86_400_000);
      expect(await offset()).toBeLessThan(3000);
      await misset();
      await vms.pause(id);
      await vms.resume(id);
      await untilRight();
      await misset();
      await vms.save(id);
      await vms.start(id);
      await untilRight();
    });

    it('types on the keyboard and presses keys, as a person at the screen does', async () => {
      const { keyboard } = fixture.host;
      await keyboard.press(id, 'enter');
      await keyboard.type(id, 'echo "Az09 {|}~\\\\" >/tmp/typed\n');
      await poll(async () => ((await sh('cat /tmp/typed 2>&1')) === 'Az09 {|}~\\\n' ? true : undefined), {
        timeoutMs: 20_000,
        doing: 'waiting for what was typed',
      });
      await keyboard.type(id, 'sleep 472\n');
      await poll(async () => ((await sh('ps | grep -c "[s]leep 472"; :')) === '1\n' ? true : undefined), {
        timeoutMs: 20_000,
        doing: 'waiting for the program that was typed',
      });
      await keyboard.press(id, 'ctrl+c');
      await poll(async () => ((await sh('ps | grep -c "[s]leep 472"; :')) === '0\n' ? true : undefined), {
        timeoutMs: 20_000,
        doing: 'waiting for Ctrl-C to be heard',
      });
    });

    it('serves the screen over VNC', async () => {
      const path = (await fixture.host.vms.info(id)).vncSocketPath ?? '';
      const socket = connect(path);
      const greeting = await new Promise<string>((resolve, reject) => {
        socket.once('data', (bytes) => resolve(bytes.toString('latin1')));
        socket.once('error', reject);
      });
      socket.destroy();
      expect(greeting).toBe('RFB 003.008\n'); // RFC 6143, 7.1.1
    });

    it('knows that nothing leads from here to a guest behind NAT', async () => {
      const { vms } = fixture.host;
      await expect(vms.waitFor(id, 'ssh', { timeoutMs: 0 })).rejects.toMatchObject({ code: 'unsupported' });
      expect(await vms.waitFor(id, 'heartbeat', { timeoutMs: 20_000 })).toBe(true);
    });

    it('stops a guest that does not hear its power button through its agent', async () => {
      const { vms, guest } = fixture.host;
      await sh('killall acpid');
      await expect(vms.stop(id, { timeoutMs: 2000 })).rejects.toMatchObject({ code: 'timeout' });
      await vms.stop(id, { guestAgent: true });
      expect((await vms.info(id)).state).toBe('Off');
      await expect(guest.exec(id, 'true', [])).rejects.toMatchObject({ code: 'invalid-state' });
    });
  });
}
