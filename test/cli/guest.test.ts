import { beforeEach, describe, expect, it } from 'vitest';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';

let double: HostDouble;
beforeEach(() => {
  double = new HostDouble();
  double.add({ name: 'web1', state: 'Running', networkAdapters: [] });
});
const hv = (...words: string[]): Promise<Ran> => run(words, { double });

describe('guest exec', () => {
  it('passes words on as they are, and the program\u2019s outputs and status back', async () => {
    double.execAnswer = {
      ...double.execAnswer,
      exitCode: 7,
      stdout: Buffer.from([0xff, 0x0a]),
      stderr: Buffer.from('e'),
    };
    const ran = await hv('guest', 'exec', 'web1', '-e', 'A=b=c', '-w', '/data', '--', 'ls', '-l', '--json', '$x');
    expect(ran).toEqual({ status: 7, stdout: '\ufffd\n', stderr: 'e' });
    expect(JSON.parse(double.changes[0]?.slice(5) ?? '')).toEqual({
      program: 'ls',
      args: ['-l', '--json', '$x'],
      environment: { A: 'b=c' },
      workingDirectory: '/data',
      input: '',
    });
  });

  it('gives it the standard input only when asked to', async () => {
    expect((await run(['guest', 'exec', 'web1', 'cat'], { double, input: 'unread' })).status).toBe(0);
    expect((await run(['guest', 'exec', '-i', 'web1', '--', 'cat', '-'], { double, input: 'read' })).status).toBe(0);
    expect(double.changes.map((change) => JSON.parse(change.slice(5)).input)).toEqual(['', 'read']);
  });

  it('has 128 and the signal for a program that one ended, and 255 for a status that no shell has', async () => {
    double.execAnswer = { ...double.execAnswer, exitCode: null, signal: 9 };
    expect((await hv('guest', 'exec', 'web1', 'x')).status).toBe(137);
    double.execAnswer = { ...double.execAnswer, exitCode: 0xc0000005, signal: null };
    expect((await hv('guest', 'exec', 'web1', 'x')).status).toBe(255);
  });

  it('ends with 125 for every failure of hv itself, wrong usage too', async () => {
    double.add({ name: 'off' });
    for (const words of [['off', 'ls'], ['none', 'ls'], ['web1'], ['web1', '--odd', 'ls'], ['web1', '-e', 'x', 'ls']]) {
      const ran = await hv('guest', 'exec', ...words);
      expect({ words, status: ran.status }).toEqual({ words, status: 125 });
      expect(ran.stderr).not.toBe('');
    }
    expect((await hv('guest', 'info', 'none')).status).toBe(3);
    expect((await hv('guest', 'exec', '--help')).status).toBe(0);
  });

  it('prints one object with --json, and the status all the same', async () => {
    double.execAnswer = { ...double.execAnswer, exitCode: 3, stdout: Buffer.from('out'), truncated: true };
    const ran = await hv('guest', 'exec', 'web1', '--json', '--', 'x');
    expect(ran.status).toBe(3);
    expect(JSON.parse(ran.stdout)).toMatchObject({
      name: 'web1',
      exitCode: 3,
      signal: null,
      stdout: 'out',
      stderr: '',
      truncated: true,
    });
  });

  it('keeps control sequences of the guest from a terminal', async () => {
    double.execAnswer = { ...double.execAnswer, stdout: Buffer.from('\u001b]0;owned\u0007plain\n') };
    expect((await run(['guest', 'exec', 'web1', 'x'], { double, terminal: true })).stdout).toBe('plain\n');
  });
});

describe('guest copy', () => {
  it('goes both ways, by which of the two is a guest\u2019s', async () => {
    double.add({ name: 'a:b c', state: 'Running' });
    expect((await hv('guest', 'copy', 'file', 'web1:/srv/', '--force')).stdout).toBe('Copied 3 bytes to web1:/srv/.\n');
    expect((await hv('guest', 'copy', 'a:b c:/x', './web1:/y')).status).toBe(0);
    expect(double.changes).toEqual(['copy file to /srv/ by force', 'copy /x from guest to ./web1:/y']);
  });

  it.each([
    [['one', 'two'], 2],
    [['web1:/x', 'web1:/y'], 2],
    [['', 'web1:/y'], 2],
    [['nobody:/x', 'y'], 3],
  ])('refuses %j with status %i and copies nothing', async (ends, status) => {
    expect((await hv('guest', 'copy', ...ends)).status).toBe(status);
    expect(double.changes).toEqual([]);
  });

  it('says with --dry-run what it would do', async () => {
    const ran = await hv('guest', 'copy', 'file', 'web1:/srv/', '--dry-run');
    expect(ran).toMatchObject({ status: 0, stdout: 'Would copy file into "web1" to /srv/.\n' });
    expect(double.changes).toEqual([]);
  });
});

describe('guest info, ip, set-time', () => {
  it('shows what the guest says', async () => {
    const ran = await hv('guest', 'info', 'web1');
    expect(ran.stdout).toContain('Debian 12');
    expect(ran.stdout).toContain('/data  ext4 on sda2  1 MiB of 64 MiB');
    expect(JSON.parse((await hv('guest', 'info', 'web1', '--json')).stdout)).toMatchObject({ agentVersion: '7.2.0' });
    expect((await hv('guest', 'set-time', 'web1')).stdout).toBe('web1: the clock was 2.5 s behind, and is set.\n');
    expect((await hv('guest', 'set-time', 'web1', '--dry-run')).stdout).toMatch(/^Would set the clock/);
  });

  it('prints one address a line, and has status 10 for none', async () => {
    expect((await hv('guest', 'ip', 'web1')).status).toBe(10);
    const adapter = { id: 'x', name: 'Network Adapter', macAddress: '00:15:5d:00:00:01', switchName: null };
    double.add({ name: 'two', networkAdapters: [{ ...adapter, ipAddresses: ['10.0.2.15', 'fd00::1'] }] });
    expect(await hv('guest', 'ip', 'two')).toMatchObject({ status: 0, stdout: '10.0.2.15\nfd00::1\n' });
  });
});

describe('guest kvp', () => {
  it('sets, lists, gets and deletes', async () => {
    expect((await hv('guest', 'kvp', 'set', 'web1', 'role', 'web server')).status).toBe(0);
    expect((await hv('guest', 'kvp', 'list', 'web1')).stdout).toBe('host\trole\tweb server\nguest\tsaid\tyes\n');
    expect((await hv('guest', 'kvp', 'get', 'web1', 'role')).stdout).toBe('web server\n');
    expect((await hv('guest', 'kvp', 'get', 'web1', 'said')).status).toBe(3);
    expect((await hv('guest', 'kvp', 'get', 'web1', 'said', '--from', 'guest')).stdout).toBe('yes\n');
    expect((await hv('guest', 'kvp', 'delete', 'web1', 'role', '--dry-run')).status).toBe(0);
    expect(double.pairs.size).toBe(1);
    expect((await hv('guest', 'kvp', 'delete', 'web1', 'role')).status).toBe(0);
    expect((await hv('guest', 'kvp', 'delete', 'web1', 'role', '--dry-run')).status).toBe(3);
    expect((await hv('guest', 'kvp', 'set', 'web1', 'bad key', 'x')).status).toBe(2);
    expect(double.pairs.size).toBe(0);
  });
});

describe('the keyboard', () => {
  it('types and presses, and refuses what it has not before a machine is asked', async () => {
    expect((await hv('vm', 'type', 'web1', 'ls -l', '--enter')).status).toBe(0);
    expect((await hv('vm', 'key', 'web1', 'ctrl+alt+del')).stdout).toBe('Pressed ctrl+alt+delete on web1.\n');
    expect((await hv('vm', 'type', 'web1', 'ä')).status).toBe(2);
    expect((await hv('vm', 'key', 'web1', 'any')).status).toBe(2);
    expect((await hv('vm', 'key', 'web1', 'alt+f2', '--dry-run')).stdout).toMatch(/^Would press alt\+f2/);
    expect(double.changes).toEqual(['type "ls -l\\n"', 'press ctrl+alt+del']);
  });
});
