import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { HvError } from '../../src/errors/index.ts';
import { NO_QOS, type VmMeasurement } from '../../src/model/index.ts';
import { HostDouble, snapshotOf } from './host-double.ts';
import { type Ran, type RunOptions, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

// What commands do with a host, on a host that keeps machines in memory.

let double: HostDouble;
const hv = (words: readonly string[], options: Omit<RunOptions, 'double'> = {}): Promise<Ran> =>
  run(words, { ...options, double });
const errorOf = (ran: Ran): { code: string; message: string; hint?: string; detail: Record<string, unknown> } =>
  JSON.parse(ran.stderr).error;

beforeEach(() => {
  double = new HostDouble();
});

describe('vm list', () => {
  it('shows what can be read, then fails for what cannot', async () => {
    double.add({ name: 'web1' });
    double.unreadable = [
      new HvError('corrupt', 'the definition /x/vm.json is damaged', { detail: { path: '/x/vm.json' } }),
    ];
    const ran = await hv(['vm', 'list', '--json']);
    expect(JSON.parse(ran.stdout)).toMatchObject([{ name: 'web1' }]);
    expect(ran.status).toBe(1);
    expect(errorOf(ran)).toMatchObject({ code: 'corrupt', detail: { path: '/x/vm.json' } });
  });

  it('prints one array with --json, also when there is nothing to list', async () => {
    expect(JSON.parse((await hv(['vm', 'list', '--json'])).stdout)).toEqual([]);
    double.add({ name: 'web1' });
    const [vm] = JSON.parse((await hv(['--json', 'vm', 'list'])).stdout);
    expect(vm).toMatchObject({
      name: 'web1',
      state: 'Off',
      memoryBytes: 2 ** 31,
      processorCount: 2,
      generation: 2,
      uptimeSeconds: 0,
    });
  });

  it('prints cells separated by tabs where no terminal is', async () => {
    const { id } = double.add({ name: 'web 1', state: 'Running', uptimeSeconds: 65 });
    expect((await hv(['vm', 'list'])).stdout).toBe(`web 1\tRunning\t1m 5s\t2\t2 GiB\t2\t${id.slice(0, 8)}\n`);
  });

  it('keeps the columns in line on a terminal whatever the script of a name', async () => {
    for (const name of ['web1', 'サーバー', '服务器一', 'сервер', "O'Brien", '👍 dev', 'Café']) double.add({ name });
    const lines = (await hv(['vm', 'list'], { terminal: true })).stdout.trimEnd().split('\n');
    expect(lines[0]).toMatch(/^Name +State +Uptime +vCPU +Memory +Gen +Id$/);
    const { default: stringWidth } = await import('string-width');
    const starts = lines.slice(1).map((line) => stringWidth(line.slice(0, line.indexOf('Off'))));
    expect(new Set(starts).size).toBe(1);
  });

  it('lets no control sequence of a foreign name reach the terminal', async () => {
    double.add({ name: 'evil\u001b]0;title\u0007\u001b[2J\u202e' });
    const { stdout } = await hv(['vm', 'list'], { terminal: true });
    expect(stdout).toContain('evil');
    expect(stdout).not.toMatch(/[\u001b\u0007\u202e]/);
  });

  it('colours only a terminal, and not where NO_COLOR is set', async () => {
    double.add({ name: 'web1', state: 'Running' });
    const coloured = await hv(['vm', 'list'], { terminal: true, env: {} });
    expect(coloured.stdout).toContain('\u001b[32mRunning');
    expect((await hv(['vm', 'list'], { terminal: true, env: { NO_COLOR: '1' } })).stdout).not.toContain('\u001b');
    expect((await hv(['vm', 'list'], { env: {} })).stdout).not.toContain('\u001b');
  });
});

describe('moving a machine', () => {
  it.each([
    ['start', 'Off', 'Running'],
    ['stop', 'Running', 'Off'],
    ['force-stop', 'Running', 'Off'],
    ['pause', 'Running', 'Paused'],
    ['resume', 'Paused', 'Running'],
    ['save', 'Running', 'Saved'],
    ['reset', 'Running', 'Running'],
  ] as const)('%s of a machine that is %s prints it as %s', async (verb, from, to) => {
    const { id } = double.add({ name: 'web1', state: from });
    const ran = await hv(['vm', verb, 'WEB1', '--json']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(ran.stdout)).toMatchObject({ id, name: 'web1', state: to });
    expect(double.changes).toHaveLength(1);
    expect(double.closed).toBe(1);
  });

  it('ends with 4 and the code invalid-state where the state forbids it', async () => {
    double.add({ name: 'web1', state: 'Off' });
    const ran = await hv(['vm', 'pause', 'web1', '--json']);
    expect(ran).toMatchObject({ status: 4, stdout: '' });
    expect(errorOf(ran)).toMatchObject({ code: 'invalid-state', detail: { state: 'Off', action: 'pause' } });
  });

  it.each(['start', 'stop', 'force-stop', 'pause', 'resume', 'save', 'reset'])(
    '%s of an unknown machine ends with 3',
    async (verb) => {
      expect((await hv(['vm', verb, 'nobody'])).status).toBe(3);
      expect((await hv(['vm', verb, 'nobody', '--dry-run'])).status).toBe(3);
    },
  );

  it('lists the ids where a name is ambiguous, and ends with 2', async () => {
    const ids = [double.add({ name: 'web1' }).id, double.add({ name: 'Web1' }).id];
    const ran = await hv(['vm', 'start', 'web1', '--json']);
    expect(ran.status).toBe(2);
    expect(errorOf(ran)).toMatchObject({ code: 'ambiguous-name', detail: { ids } });
  });

  it('says with --dry-run what it would do, changes nothing, and fails as the real one would', async () => {
    double.add({ name: 'web1', state: 'Running' });
    const would = await hv(['vm', 'pause', 'web1', '--dry-run']);
    expect(would).toMatchObject({ status: 0, stdout: 'Would pause "web1".\n' });
    expect((await hv(['vm', 'start', 'web1', '--dry-run'])).stdout).toContain('do nothing');
    expect((await hv(['vm', 'resume', 'web1', '--dry-run', '--json'])).stdout).toContain('"dryRun":true');
    expect((await hv(['vm', 'delete', 'web1', '--dry-run'])).status).toBe(4);
    expect(double.changes).toEqual([]);
  });

  it('would not start with more memory than the host has', async () => {
    double.add({ name: 'huge', memoryBytes: 9 * 2 ** 30 });
    const ran = await hv(['vm', 'start', 'huge', '--dry-run', '--json']);
    expect(ran.status).toBe(1);
    expect(errorOf(ran).code).toBe('no-space');
  });

  it('finds with start --dry-run what is not installed', async () => {
    double.add({ name: 'web1' });
    double.findings = [
      {
        id: 'qemu',
        title: 'QEMU',
        status: 'missing',
        message: 'QEMU is not installed',
        fix: 'apt-get install qemu-system-x86',
      },
    ];
    const ran = await hv(['vm', 'start', 'web1', '--dry-run', '--json']);
    expect(ran.status).toBe(5);
    expect(errorOf(ran)).toMatchObject({ code: 'missing-dependency', hint: 'apt-get install qemu-system-x86' });
  });

  it('stop says what happened when the guest does not obey, and ends with 1', async () => {
    double.add({ name: 'web1', state: 'Running' });
    const ran = await hv(['vm', 'stop', 'web1', '--timeout', '0']);
    expect(ran.status).toBe(1);
    expect(ran.stderr).toBe('hv: the guest did not shut down\n    Use hv vm force-stop.\n');
  });

  it('prints nothing with --quiet', async () => {
    double.add({ name: 'web1' });
    expect(await hv(['vm', 'start', 'web1', '--quiet'])).toEqual({ status: 0, stdout: '', stderr: '' });
  });
});

describe('vm create', () => {
  it('passes on what was given and prints the machine', async () => {
    const words = [
      'vm',
      'create',
      'O\'Brien "x" 服务器',
      '--memory',
      '1.5G',
      '--cpus',
      '4',
      '--generation',
      '1',
      '--guest',
      'windows',
      '--json',
    ];
    const ran = await hv(words);
    expect(ran.status).toBe(0);
    expect(JSON.parse(ran.stdout)).toMatchObject({
      name: 'O\'Brien "x" 服务器',
      memoryBytes: 1.5 * 2 ** 30,
      processorCount: 4,
      generation: 1,
      guest: 'windows',
      state: 'Off',
    });
  });

  it.each([
    ['--memory', '0'],
    ['--memory', '-1G'],
    ['--memory', '9999999T'],
    ['--memory', '1.3'],
    ['--memory', 'much'],
    ['--memory', '100T'],
    ['--memory', '1M'],
    ['--cpus', '0'],
    ['--cpus', '-2'],
    ['--cpus', '1.5'],
    ['--cpus', '1e3'],
    ['--cpus', '100000'],
    ['--generation', '3'],
    ['--guest', 'bsd'],
    ['--new-disk', '0'],
    ['--disk', ''],
  ])('refuses %s %s before anything is changed', async (option, value) => {
    for (const extra of [[], ['--dry-run']]) {
      const ran = await hv(['vm', 'create', 'web1', option, value, '--json', ...extra]);
      expect(ran.status).toBe(2);
      expect(errorOf(ran)).toMatchObject({ code: 'invalid-argument', hint: expect.any(String) });
    }
    expect(double.changes).toEqual([]);
  });

  it.each(['', '.', '..', 'a/b', 'a\\b', 'a\nb', 'x'.repeat(101)])('refuses the name %j', async (name) => {
    expect((await hv(['vm', 'create', name])).status).toBe(2);
    expect((await hv(['vm', 'create', name, '--dry-run'])).status).toBe(2);
    expect(double.changes).toEqual([]);
  });

  it('refuses a name that is there already, in any case of letters', async () => {
    double.add({ name: 'web1' });
    for (const extra of [[], ['--dry-run']]) {
      const ran = await hv(['vm', 'create', 'WEB1', '--json', ...extra]);
      expect(ran.status).toBe(4);
      expect(errorOf(ran).code).toBe('already-exists');
    }
  });

  it('takes a name that begins with dashes after --', async () => {
    const ran = await hv(['vm', 'create', '--json', '--', '--json']);
    expect(ran.status).toBe(0);
    expect(JSON.parse(ran.stdout).name).toBe('--json');
  });
});

describe('vm delete', () => {
  const drive = {
    id: 'd',
    controllerType: 'SCSI',
    controllerNumber: 0,
    controllerLocation: 0,
    path: '/disks/web1.vhdx',
    isPhysical: false,
    qos: NO_QOS,
  } as const;

  it('needs --yes where nobody can be asked', async () => {
    double.add({ name: 'web1' });
    expect((await hv(['vm', 'delete', 'web1'])).status).toBe(2);
    expect(double.changes).toEqual([]);
    expect((await hv(['vm', 'delete', 'web1', '--yes'])).status).toBe(0);
    expect(double.changes).toEqual(['delete web1']);
  });

  it('asks on a terminal, naming the disks, and takes everything but yes for a no', async () => {
    double.add({ name: 'web1', hardDiskDrives: [drive] });
    for (const input of ['n\n', '\n', 'maybe\n', 'yesterday\n']) {
      const ran = await hv(['vm', 'delete', 'web1', '--with-disks'], { terminal: true, input });
      expect(ran.stderr).toContain('/disks/web1.vhdx');
      expect(ran.status).toBe(10);
      expect(double.changes).toEqual([]);
    }
    expect((await hv(['vm', 'delete', 'web1', '--with-disks'], { terminal: true, input: 'Yes\n' })).status).toBe(0);
    expect(double.changes).toEqual(['delete web1']);
  });

  it('takes the end of the input for a no', async () => {
    double.add({ name: 'web1' });
    const ran = await hv(['vm', 'delete', 'web1'], { terminal: true, input: '' });
    expect(ran.status).toBe(10);
    expect(double.changes).toEqual([]);
  });

  it('names with --dry-run the files that it would delete', async () => {
    double.add({ name: 'web1', hardDiskDrives: [drive] });
    const ran = await hv(['vm', 'delete', 'web1', '--with-disks', '--dry-run', '--json']);
    expect(JSON.parse(ran.stdout)).toMatchObject({ dryRun: true, wouldDeletePaths: ['/disks/web1.vhdx'] });
    expect(double.changes).toEqual([]);
  });

  it('prints what it deleted', async () => {
    const { id } = double.add({ name: 'web1', hardDiskDrives: [drive] });
    const ran = await hv(['vm', 'delete', 'web1', '--with-disks', '--yes', '--json']);
    expect(JSON.parse(ran.stdout)).toEqual({ id, name: 'web1', deleted: true, deletedPaths: ['/disks/web1.vhdx'] });
  });
});

describe('vm rename', () => {
  it('renames, and refuses with --dry-run what the real one would', async () => {
    double.add({ name: 'web1' });
    double.add({ name: 'web2' });
    expect((await hv(['vm', 'rename', 'web1', 'WEB2', '--dry-run'])).status).toBe(4);
    expect((await hv(['vm', 'rename', 'web1', 'a/b', '--dry-run'])).status).toBe(2);
    expect((await hv(['vm', 'rename', 'web1', 'WEB1', '--dry-run'])).status).toBe(0);
    expect(double.changes).toEqual([]);
    expect(JSON.parse((await hv(['vm', 'rename', 'web1', 'web3', '--json'])).stdout).name).toBe('web3');
  });
});

describe('vm wait', () => {
  it('ends with 0 when it came true and with 10 when not', async () => {
    double.add({ name: 'web1', state: 'Running' });
    const yes = await hv(['vm', 'wait', 'web1', '--for', 'ip', '--json']);
    expect(yes.status).toBe(0);
    expect(JSON.parse(yes.stdout)).toMatchObject({ condition: 'ip', holds: true, ipAddresses: ['10.0.2.15'] });
    double.waitAnswer = false;
    const no = await hv(['vm', 'wait', 'web1', '--timeout', '1', '--json']);
    expect(no.status).toBe(10);
    expect(JSON.parse(no.stdout)).toMatchObject({ condition: 'ready', holds: false });
  });

  it('refuses what cannot be waited for', async () => {
    double.add({ name: 'web1' });
    expect((await hv(['vm', 'wait', 'web1', '--for', 'lunch'])).status).toBe(2);
    expect((await hv(['vm', 'wait', 'web1', '--timeout', 'forever'])).status).toBe(2);
  });
});

describe('vm logs', () => {
  const hostile = 'boot\u001b[31m ok\u001b[0m\r\n\u001b]0;owned\u0007login: ';

  it('leaves out what a terminal would obey, on a terminal only', async () => {
    double.add({ name: 'web1' });
    double.logs = { serial: hostile, engine: 'e', worker: 'w' };
    expect((await hv(['vm', 'logs', 'web1'], { terminal: true })).stdout).toBe('boot ok\nlogin: \n');
    expect((await hv(['vm', 'logs', 'web1'])).stdout).toBe(hostile);
    expect((await hv(['vm', 'logs', 'web1', '--engine'])).stdout).toBe('e\nw\n');
    expect(JSON.parse((await hv(['vm', 'logs', 'web1', '--json'])).stdout)).toMatchObject({
      serial: hostile,
      engine: 'e',
      worker: 'w',
    });
  });

  it('follows until the machine is off', async () => {
    const { id } = double.add({ name: 'web1', state: 'Running' });
    double.logs = { serial: 'one\n', engine: '', worker: '' };
    setTimeout(() => {
      double.logs = { serial: 'one\ntwo\n', engine: '', worker: '' };
    }, 100);
    setTimeout(() => {
      double.logs = { serial: 'one\ntwo\nthree\n', engine: '', worker: '' };
      double.machines.set(id, { ...double.add({ name: 'gone' }), id, name: 'web1', state: 'Off' });
    }, 700);
    expect((await hv(['vm', 'logs', 'web1', '--follow'])).stdout).toBe('one\ntwo\nthree\n');
  });

  it('ends with 130 when following is interrupted', async () => {
    double.add({ name: 'web1', state: 'Running' });
    const ran = await hv(['vm', 'logs', 'web1', '--follow'], { signal: AbortSignal.timeout(50) });
    expect(ran.status).toBe(130);
  });
});

describe('vm screenshot', () => {
  it('writes the picture where it is told', async () => {
    await using folder = await temporaryFolder();
    double.add({ name: 'web1', state: 'Running' });
    const path = join(folder.path, 'screen.png');
    const ran = await hv(['vm', 'screenshot', 'web1', '-o', path, '--json']);
    expect(JSON.parse(ran.stdout)).toMatchObject({ name: 'web1', path, sizeBytes: 4 });
    expect([...(await readFile(path))]).toEqual([0x89, 0x50, 0x4e, 0x47]);
  });

  it('says why when it cannot', async () => {
    double.add({ name: 'web1', state: 'Running' });
    expect((await hv(['vm', 'screenshot', 'web1', '-o', '/nonexistent/folder/screen.png'])).status).toBe(3);
  });
});

describe('snapshots', () => {
  it('are drawn as a tree on a terminal, the current one marked', async () => {
    const vm = double.add({ name: 'web1' });
    const root = snapshotOf(vm, { name: 'root' });
    const left = snapshotOf(vm, { name: 'left', parentId: root.id, parentName: 'root' });
    const leaf = snapshotOf(vm, { name: 'leaf', parentId: left.id, parentName: 'left', isCurrent: true });
    const right = snapshotOf(vm, { name: 'right', parentId: root.id, parentName: 'root' });
    double.snapshots.set(vm.id, [root, left, leaf, right]);
    const lines = (await hv(['snapshot', 'list', 'web1'], { terminal: true })).stdout.trimEnd().split('\n');
    expect(lines.map((line) => line.split('  2')[0])).toEqual(['root', '├─ left', '│  └─ leaf', '└─ right']);
    expect(lines.filter((line) => line.endsWith('<- current'))).toEqual([expect.stringContaining('leaf')]);
    expect(JSON.parse((await hv(['snapshot', 'list', 'web1', '--json'])).stdout)).toHaveLength(4);
    expect((await hv(['snapshot', 'list', 'web1'])).stdout.split('\n')[1]).toMatch(
      /^left\t2025-01-02T03:04:05.000Z\tOff\troot\t-\t/,
    );
  });

  it('are made, applied and deleted, each printing what it did', async () => {
    const vm = double.add({ name: 'web1' });
    const made = JSON.parse((await hv(['snapshot', 'create', 'web1', 'Before "update"', '--json'])).stdout);
    expect(made).toMatchObject({ name: 'Before "update"', vmId: vm.id, vmName: 'web1', type: 'Standard' });
    const applied = JSON.parse((await hv(['snapshot', 'apply', 'web1', made.id, '--json'])).stdout);
    expect(applied).toMatchObject({ id: vm.id, name: 'web1', state: 'Off', snapshotId: made.id });
    const deleted = JSON.parse((await hv(['snapshot', 'delete', 'web1', made.name, '--json'])).stdout);
    expect(deleted).toMatchObject({ id: made.id, name: made.name, vmName: 'web1', deleted: true });
  });

  it('are checked with --dry-run as the real command would', async () => {
    const vm = double.add({ name: 'web1', state: 'Running' });
    double.snapshots.set(vm.id, [snapshotOf(vm, { name: 'first' })]);
    expect((await hv(['snapshot', 'create', 'web1', 'first', '--dry-run'])).status).toBe(4);
    expect((await hv(['snapshot', 'create', 'web1', 'a/b', '--dry-run'])).status).toBe(2);
    expect((await hv(['snapshot', 'create', 'web1', 'new', '--type', 'production', '--dry-run'])).status).toBe(5);
    expect((await hv(['snapshot', 'create', 'web1', 'new', '--dry-run'])).status).toBe(0);
    expect((await hv(['snapshot', 'apply', 'web1', 'first', '--dry-run'])).status).toBe(0);
    expect((await hv(['snapshot', 'apply', 'web1', 'none', '--dry-run'])).status).toBe(3);
    expect((await hv(['snapshot', 'delete', 'web1', 'first', '--dry-run'])).status).toBe(0);
    const saved = double.add({ name: 'web2', state: 'Saved' });
    double.snapshots.set(saved.id, [snapshotOf(saved, { name: 'first' })]);
    expect((await hv(['snapshot', 'delete', 'web2', 'first', '--dry-run'])).status).toBe(4);
    expect(double.changes).toEqual([]);
  });
});

describe('vm set', () => {
  it('changes what is given, and shows the machine', async () => {
    double.add({ name: 'web1' });
    const { stdout } = await hv(['vm', 'set', 'web1', '--cpus', '4', '--notes', 'Ann', '--group', 'a', '--group', 'b']);
    expect(stdout).toBe('Changed processor count, notes, groups of web1.\n');
    expect((await hv(['vm', 'info', 'web1'])).stdout).toMatch(/vCPUs:\s+4\n.*Groups:\s+a, b\n/s);
    const { stdout: json } = await hv(['vm', 'set', 'web1', '--no-notes', '--json']);
    expect(JSON.parse(json)).toMatchObject({ processorCount: 4, notes: '', groups: ['a', 'b'] });
  });

  it('changes nothing with --dry-run, without a setting, or while it runs', async () => {
    double.add({ name: 'web1', state: 'Running' });
    expect((await hv(['vm', 'set', 'web1', '--notes', 'x', '--dry-run'])).stdout).toMatch(
      /would change notes of "web1"/i,
    );
    expect((await hv(['vm', 'set', 'web1'])).status).toBe(2);
    expect((await hv(['vm', 'set', 'web1', '--memory', '4G'])).status).toBe(4);
    expect((await hv(['vm', 'set', 'web1', '--boot-order', 'scsi:0:7'])).status).toBe(3);
    expect(double.changes).toEqual([]);
  });
});

describe('events, operations and measure', () => {
  const user = { uid: 1000, name: 'ann', behalfOf: null };
  const operation = {
    operationId: 'o',
    operation: 'vms.start',
    subject: null,
    user,
    processId: 7,
    outcome: 'failed',
    errorCode: 'in-use',
    durationMs: 12,
  } as const;
  const at = { time: '2026-01-02T03:04:05.000Z', vmId: 'v', vmName: 'web1\u001b[31m' };

  it('show each kind of event for people, without what a terminal would obey', async () => {
    double.events = [
      { ...at, kind: 'state', state: 'Paused', reason: 'No space.' },
      { ...at, kind: 'disk-error', driveId: null, operation: 'write', noSpace: true },
      { ...at, kind: 'guest-panic' },
      { ...at, kind: 'guest-reset' },
      { ...at, kind: 'guest-agent', connected: false },
      { ...at, kind: 'operation', phase: 'end', ...operation },
    ];
    const { stdout } = await hv(['events']);
    expect(stdout).not.toContain('\u001b');
    expect(
      stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.split('\t')[2]),
    ).toEqual([
      'Paused: No space.',
      'no space is left on the host for one of its disks: it waits',
      "the guest's kernel crashed",
      'the guest restarted',
      "the guest's agent is gone",
      'vms.start: failed (in-use)',
    ]);
    expect(JSON.parse((await hv(['events', '--json'])).stdout)).toEqual(double.events);
  });

  it('show who did what', async () => {
    double.operations = [{ ...operation, ...at, startTime: at.time, user: { ...user, behalfOf: 'bob' } }];
    expect((await hv(['operations'])).stdout).toMatch(
      /\tann \(bob\)\tvms.start\tweb1.*\t-\tfailed \(in-use\)\t12 ms\n$/,
    );
  });

  it('show totals, and rates over the interval', async () => {
    double.add({ name: 'web1', state: 'Running' });
    const measured = (seconds: number, bytes: number): VmMeasurement => ({
      vmId: 'v',
      vmName: 'web1',
      time: at.time,
      uptimeSeconds: 60,
      processorSeconds: seconds,
      virtualProcessorSeconds: [seconds],
      residentBytes: 2 ** 28,
      assignedBytes: 2 ** 28,
      disks: [{ driveId: 'd', readBytes: bytes, writtenBytes: 0, readOperations: 1, writeOperations: 0 }],
      adapters: [],
    });
    double.measurements = [measured(1, 0), measured(1.05, 2 ** 20)];
    const { rates } = JSON.parse((await hv(['vm', 'measure', 'web1', '--interval', '100ms', '--json'])).stdout);
    expect(rates.intervalSeconds).toBeGreaterThanOrEqual(0.09);
    expect(rates.processorPercent).toBeCloseTo(5 / rates.intervalSeconds, 0);
    expect(rates.diskReadBytesPerSecond).toBeCloseTo(2 ** 20 / rates.intervalSeconds, -5);
    double.measurements = [];
    expect((await hv(['vm', 'measure', 'web1'])).status).toBe(4);
  });
});

describe('host and doctor', () => {
  it('shows the host', async () => {
    expect(JSON.parse((await hv(['host', 'info', '--json'])).stdout)).toMatchObject({
      computerName: 'test-host',
      memoryCapacityBytes: 8 * 2 ** 30,
    });
    expect((await hv(['host', 'info'])).stdout).toContain('Memory:');
  });

  it('sets only what was given', async () => {
    expect((await hv(['host', 'set'])).status).toBe(2);
    expect(JSON.parse((await hv(['host', 'set', '--vhd-path', '/srv/x', '--json'])).stdout)).toMatchObject({
      vhdPath: '/srv/x',
      vmPath: '/vms',
    });
  });

  it('checks with --dry-run that a folder can be used', async () => {
    expect((await hv(['host', 'set', '--vhd-path', '/dev/null', '--dry-run'])).status).toBe(2);
    expect((await hv(['host', 'set', '--vhd-path', '/tmp/not/yet', '--dry-run'])).status).toBe(0);
    expect(double.changes).toEqual([]);
  });

  it('ends doctor with 10 where something is missing, with its fix', async () => {
    double.findings = [{ id: 'kvm', title: 'KVM', status: 'warning', message: 'no', fix: null }];
    expect((await hv(['doctor'])).status).toBe(0);
    double.findings = [
      {
        id: 'qemu',
        title: 'QEMU',
        status: 'missing',
        message: 'not installed',
        fix: 'apt-get install qemu-system-x86',
      },
    ];
    const ran = await hv(['doctor']);
    expect(ran.status).toBe(10);
    expect(ran.stdout).toContain('apt-get install qemu-system-x86');
    expect(JSON.parse((await hv(['doctor', '--json'])).stdout)).toEqual(expect.arrayContaining(double.findings));
  });
});

describe('vhd serve', () => {
  const path = '/disks/a.vhdx';
  const drive = {
    id: 'd',
    controllerType: 'SCSI',
    controllerNumber: 0,
    controllerLocation: 0,
    path,
    isPhysical: false,
    qos: NO_QOS,
  } as const;

  it.each([
    ['a saved machine', { state: 'Saved', hardDiskDrives: [drive] }],
    ['a running machine', { state: 'Running', hardDiskDrives: [drive] }],
    ['a machine with snapshots', { state: 'Off', snapshotCount: 1, hardDiskDrives: [drive] }],
    ['a machine whose disk builds on it', { state: 'Off', hardDiskDrives: [{ ...drive, path: '/disks/child.vhdx' }] }],
  ] as const)('refuses to write under %s', async (_what, fields) => {
    const { id } = double.add({ name: 'web1', ...fields });
    double.diskUsers.set(path, [id]);
    const ran = await hv(['vhd', 'serve', path, '--socket', '/tmp/never.sock', '--json']);
    expect(ran.status).toBe(4);
    expect(errorOf(ran)).toMatchObject({ code: 'in-use', detail: { vm: 'web1' } });
  });
});
