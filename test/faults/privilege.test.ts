import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { vmPaths } from '../../src/state/index.ts';
import { isRoot, runProgram } from '../../src/system/index.ts';
import { MAIN } from '../cli/built.ts';
import { pidsOf, processesOf } from '../conformance/qemu-home.ts';
import { bareMachine, type FaultFixture, faultFixture, killAndWait, readDefinition } from './fixture.ts';

const NOBODY = 65534;

function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'latin1').split('\n');
  return Object.fromEntries(lines.map((line) => [line.split(':')[0] ?? '', line.slice(line.indexOf(':') + 1).trim()]));
}

/** Empty for a process that has gone. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return '';
  }
}

/** The built product where others may read it: a checkout may lie in a folder that is closed to them. */
function copyForOthers(folder: string): string {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const target = join(folder, 'hv');
  mkdirSync(target);
  for (const part of ['package.json', 'dist', 'node_modules']) {
    const { status, stderr } = spawnSync('cp', ['-a', '--reflink=auto', join(root, part), target], {
      encoding: 'utf8',
    });
    if (status !== 0) throw new Error(`copying ${part} failed: ${stderr}`);
  }
  return join(target, 'dist/cli/main.js');
}

/** Whether a user may read a file. */
function mayRead(uid: number, path: string): boolean {
  const args = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups', 'cat', path];
  return spawnSync('setpriv', args, { stdio: 'ignore', timeout: 10_000 }).status === 0;
}

describe.skipIf(!isRoot())('privileges of what root starts (needs root)', () => {
  let fixture: FaultFixture;
  let id = '';
  let other = '';
  beforeAll(async () => {
    fixture = await faultFixture();
    id = await bareMachine(fixture, 'unprivileged');
    other = await bareMachine(fixture, 'its neighbour');
    await fixture.host.vms.start(id);
    await fixture.host.vms.start(other);
  });
  afterAll(() => fixture.close());

  const expectUnprivileged = async (): Promise<void> => {
    const { user } = await readDefinition(fixture, id);
    const { processes } = await fixture.host.vms.info(id);
    const uid = user?.uid ?? 0;
    expect(uid).toBeGreaterThan(100_000);
    for (const pid of [processes?.engine ?? 0, processes?.worker ?? 0]) {
      const status = statusOf(pid);
      for (const field of ['Uid', 'Gid']) expect(status[field]?.split(/\s+/).map(Number)).toEqual(Array(4).fill(uid));
      expect(status.Groups).toBe('');
      for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapAmb']) expect(status[set]).toMatch(/^0+$/);
    }
    expect(statusOf(processes?.engine ?? 0)).toMatchObject({ Seccomp: '2', NoNewPrivs: '1' });
  };

  it('runs QEMU and the worker as the machine’s own user, without a capability, QEMU under seccomp', async () => {
    await expectUnprivileged();
    const users = await Promise.all([id, other].map(async (each) => (await readDefinition(fixture, each)).user?.uid));
    expect(new Set(users).size).toBe(2);
  });

  it('is unprivileged again after the worker was replaced, and after a save and a start', async () => {
    await killAndWait(fixture, 'worker');
    await poll(() => (pidsOf(fixture.home, 'worker').length === 2 ? true : undefined), {
      timeoutMs: 10_000,
      doing: 'x',
    });
    await fixture.host.vms.pause(id);
    await expectUnprivileged();
    await fixture.host.vms.save(id);
    await fixture.host.vms.start(id);
    await expectUnprivileged();
  });

  it('keeps the machine’s user from root’s files and from its neighbour’s', async () => {
    const { user, dataPath } = await readDefinition(fixture, id);
    const uid = user?.uid ?? 0;
    const own = vmPaths(fixture.paths, id);
    const neighbour = await readDefinition(fixture, other);
    const forbidden = [
      own.definition,
      vmPaths(fixture.paths, other).definition,
      join(neighbour.dataPath, 'serial.log'),
      neighbour.specification.hardDiskDrives[0]?.path ?? '',
      '/etc/shadow',
    ];
    for (const path of forbidden) {
      readFileSync(path); // it is there, and root reads it
      expect(mayRead(uid, path)).toBe(false);
    }
    for (const socket of ['control.sock', 'qmp.sock', 'nbd.sock', 'serial.sock']) {
      const path = join(vmPaths(fixture.paths, other).run, socket);
      const args = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups', process.execPath, '-e'];
      const script = `require('net').connect(${JSON.stringify(path)}).on('connect', () => process.exit(0)).on('error', (e) => process.exit(e.code === 'EACCES' ? 13 : 1))`;
      expect(spawnSync('setpriv', [...args, script], { stdio: 'ignore' }).status).toBe(13);
    }
    expect(dataPath).not.toBe(neighbour.dataPath);
  });

  it('gives QEMU no way to its disk but the worker', async () => {
    const { processes } = await fixture.host.vms.info(id);
    const { stdout } = await runProgram('ls', ['-l', `/proc/${processes?.engine}/fd`], { deadlineMs: 10_000 });
    expect(stdout.toString()).not.toContain('.vhdx');
    expect(stdout.toString()).toContain('serial.log');
  });
});

describe.skipIf(!isRoot())('a user who is not root (needs root: it becomes nobody)', () => {
  let folder = '';
  let main = MAIN;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hv-nobody-'));
    await chmod(folder, 0o755);
    await chown(folder, NOBODY, NOBODY);
    if (!mayRead(NOBODY, MAIN)) main = copyForOthers(folder);
  });
  afterAll(async () => {
    await poll(() => (processesOf(join(folder, 'home')).length + processesIn(folder) === 0 ? true : undefined), {
      timeoutMs: 15_000,
      doing: 'waiting for the processes of nobody to leave',
    });
    await rm(folder, { recursive: true, force: true });
  });

  const processesIn = (path: string): number =>
    readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name) && commandOf(name).includes(path)).length;

  const hv = (...words: string[]): { status: number | null; stdout: string; stderr: string } => {
    const user = ['--reuid', String(NOBODY), '--regid', String(NOBODY), '--clear-groups'];
    const { status, stdout, stderr } = spawnSync('setpriv', [...user, process.execPath, main, ...words], {
      encoding: 'utf8',
      timeout: 60_000,
      cwd: folder,
      env: { PATH: process.env.PATH, HOME: folder, HV_HOME: join(folder, 'home'), HV_RUN: join(folder, 'run') },
    });
    return { status, stdout, stderr };
  };
  const done = (...words: string[]): string => {
    const { status, stdout, stderr } = hv(...words);
    expect({ words, status, stderr }).toEqual({ words, status: 0, stderr: '' });
    return stdout;
  };
  const state = (): string => JSON.parse(done('vm', 'info', 'mine', '--json')).state;

  it('creates, starts, saves, snapshots and deletes machines of its own', (context) => {
    if (!mayRead(NOBODY, process.execPath)) context.skip('others may not run this Node');
    done('vm', 'create', 'mine', '--memory', '64M', '--generation', '1', '--new-disk', '64M');
    done('vm', 'start', 'mine');
    expect(state()).toBe('Running');
    const { processes } = JSON.parse(done('vm', 'info', 'mine', '--json'));
    expect(statusOf(processes.engine)).toMatchObject({ Seccomp: '2', CapEff: expect.stringMatching(/^0+$/) });
    expect(statusOf(processes.engine).Uid?.split(/\s+/)[0]).toBe(String(NOBODY));
    done('snapshot', 'create', 'mine', 'first');
    done('vm', 'save', 'mine');
    expect(state()).toBe('Saved');
    done('vm', 'start', 'mine');
    done('vm', 'force-stop', 'mine');
    done('snapshot', 'delete', 'mine', 'first');
    done('vm', 'delete', 'mine', '--with-disks', '--yes');
    expect(JSON.parse(done('vm', 'list', '--json'))).toEqual([]);
  });
});
