import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { allCommands } from '../../src/cli/catalogue.ts';
import { describeBuilt, hv, MAIN, type ProcessOptions, type ProcessResult } from './built.ts';
import { temporaryFolder } from './temporary-folder.ts';

// The built command as a process, on the real engine with a home of its own. No guest runs here.

const COMMANDS = allCommands().map(({ name }) => name.split(' '));

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  folder = await temporaryFolder();
  env = { HV_HOME: join(folder.path, 'home'), HV_RUN: join(folder.path, 'run') };
});
afterAll(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const run = (words: readonly string[], options: ProcessOptions = {}): Promise<ProcessResult> =>
  hv(words, { env, ...options });

async function json(words: readonly string[]): Promise<Record<string, unknown>> {
  const ran = await run([...words, '--json']);
  expect(ran.stderr).toBe('');
  expect(ran.status).toBe(0);
  return JSON.parse(ran.stdout);
}

async function refusal(
  words: readonly string[],
): Promise<{ status: number | null; code: string; message: string; hint?: string }> {
  const ran = await run([...words, '--json']);
  expect(ran.stdout).toBe('');
  const { error } = JSON.parse(ran.stderr);
  expect(error).toMatchObject({ code: expect.any(String), message: expect.any(String), detail: expect.any(Object) });
  return { status: ran.status, ...error };
}

describeBuilt('help and usage', () => {
  it('prints the version', async () => {
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
    for (const words of [['--version'], ['-V'], ['--json', '--version']]) {
      expect(await run(words)).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
    }
  });

  it.each(COMMANDS.map((words) => words.join(' ')))('hv %s --help has an example and ends with 0', async (command) => {
    const ran = await run([...command.split(' '), '--help']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(ran.stdout).toMatch(new RegExp(`Examples?:\n  \\$ hv ${command}`));
    expect(ran.stdout).toContain('--json');
  });

  it('shows help for hv alone, for help before the words, and for a noun', async () => {
    for (const words of [[], ['--help'], ['help'], ['vm', '--help'], ['help', 'vm'], ['help', 'vm', 'list']]) {
      const ran = await run(words);
      expect(ran).toMatchObject({ status: 0, stderr: '' });
      expect(ran.stdout).toContain('Usage: hv');
    }
    expect((await run(['help', 'vm', 'list'])).stdout).toContain('Usage: hv vm list');
  });

  it('shows examples as they are typed', async () => {
    const { stdout } = await hv(['vm', 'console', '--help']);
    expect(stdout).toContain('  $ hv vm console web1\n');
    expect(stdout).toContain("  $ echo 'uname -a' | hv vm console web1");
  });

  it('ends with 2 where the verb is missing', async () => {
    expect(await run(['vm'])).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('Usage: hv vm') });
    expect(await refusal(['vm'])).toMatchObject({
      status: 2,
      code: 'invalid-argument',
      hint: expect.stringContaining('list'),
    });
  });

  it.each([
    [['vmm', 'list'], 'vm'],
    [['vm', 'lst'], 'list'],
    [['vm', 'list', '--jso'], '--json'],
    [['vm', 'create', 'a', '--memry', '2G'], '--memory'],
    [['docter'], 'doctor'],
  ])('hv %j ends with 2 and suggests %s', async (words, nearest) => {
    const ran = await run(words);
    expect(ran).toMatchObject({ status: 2, stdout: '' });
    expect(ran.stderr).toMatch(/^hv: .*\n {4}Did you mean /);
    expect(ran.stderr).toContain(nearest);
    expect(await refusal(words)).toMatchObject({ status: 2, code: 'invalid-argument' });
  });

  it.each([[['vm', 'info']], [['vm', 'info', 'a', 'b']], [['vhd', 'create', 'x.vhdx', '--size']]])(
    'hv %j ends with 2',
    async (words) => {
      expect(await refusal(words)).toMatchObject({ status: 2, code: 'invalid-argument' });
    },
  );
});

describeBuilt('machines that are never started', () => {
  it('are created, listed, shown, renamed and deleted', async () => {
    expect(await json(['vm', 'list'])).toEqual([]);
    const made = await json(['vm', 'create', 'life', '--memory', '512M', '--cpus', '1']);
    expect(made).toMatchObject({
      name: 'life',
      state: 'Off',
      memoryBytes: 512 * 2 ** 20,
      processorCount: 1,
      generation: 2,
      guest: 'linux',
    });
    expect(await json(['vm', 'list'])).toEqual([
      expect.objectContaining({ id: made.id, name: 'life', uptimeSeconds: 0 }),
    ]);
    expect(await json(['vm', 'info', String(made.id)])).toEqual(await json(['vm', 'info', 'LIFE']));
    expect(await json(['vm', 'rename', 'life', 'other life'])).toMatchObject({
      id: made.id,
      name: 'other life',
      state: 'Off',
    });
    expect(await refusal(['vm', 'info', 'life'])).toMatchObject({ status: 3, code: 'not-found' });
    expect(await refusal(['vm', 'pause', 'other life'])).toMatchObject({ status: 4, code: 'invalid-state' });
    expect(await refusal(['vm', 'delete', 'other life'])).toMatchObject({ status: 2 });
    expect(await json(['vm', 'delete', 'other life', '--yes'])).toMatchObject({ id: made.id, deleted: true });
    expect(await json(['vm', 'list'])).toEqual([]);
  });

  it('may have names of every script, with spaces and quotes', async () => {
    const names = [
      "O'Brien",
      'say "hi"',
      'a b  c',
      'a,b=c;d&e|f$(g)`h`%i*j?',
      '..x',
      'サーバー',
      'خادم',
      'सर्वर',
      'Grüße',
      '👩‍💻',
      'x'.repeat(100),
    ];
    for (const name of names) expect(await json(['vm', 'create', name])).toMatchObject({ name, state: 'Off' });
    const listed = (await run(['vm', 'list'])).stdout.trimEnd().split('\n');
    expect(listed.map((line) => line.split('\t')[0]).sort()).toEqual([...names].sort());
    expect(await json(['vm', 'info', 'GRÜSSE'.replace('SS', 'ß')])).toMatchObject({ name: 'Grüße' });
    expect(await refusal(['vm', 'create', "o'brien"])).toMatchObject({ status: 4, code: 'already-exists' });
    for (const name of names) await json(['vm', 'delete', name, '--yes']);
    expect(await json(['vm', 'list'])).toEqual([]);
  });

  it('may not be called what would break a path or a terminal', async () => {
    for (const name of ['', ' ', '.', '..', 'a/b', 'a\\b', 'a\nb', 'a\u001b[31m', 'a\u202eb', 'x'.repeat(101)]) {
      expect(await refusal(['vm', 'create', name])).toMatchObject({ status: 2, code: 'invalid-argument' });
    }
    expect(await refusal(['vm', 'create', '..', '--dry-run'])).toMatchObject({ status: 2, code: 'invalid-argument' });
    expect(await json(['vm', 'list'])).toEqual([]);
  });

  it('refuses a disk that is missing, foreign or in use before anything is made', async () => {
    await writeFile(at('foreign.vhdx'), 'this is no disk at all'.repeat(100_000));
    const cases = [
      ['missing.vhdx', 3, 'not-found'],
      ['foreign.vhdx', 1, 'corrupt'],
    ] as const;
    for (const [file, status, code] of cases) {
      for (const extra of [[], ['--dry-run']]) {
        expect(await refusal(['vm', 'create', 'nodisk', '--disk', at(file), ...extra])).toMatchObject({ status, code });
      }
    }
    await json(['vm', 'create', 'first', '--new-disk', '1G', '--disk', at('first.vhdx')]);
    for (const extra of [[], ['--dry-run']]) {
      expect(await refusal(['vm', 'create', 'second', '--disk', at('first.vhdx'), ...extra])).toMatchObject({
        status: 4,
        code: 'in-use',
      });
    }
    expect(await json(['vm', 'list'])).toHaveLength(1);
    expect(await json(['vm', 'delete', 'first', '--with-disks', '--yes'])).toMatchObject({
      deletedPaths: [at('first.vhdx')],
    });
    expect(existsSync(at('first.vhdx'))).toBe(false);
  });

  it('are untouched by --dry-run', async () => {
    await json(['vm', 'create', 'dry']);
    const before = await treeOf(folder.path);
    const commands = [
      ['vm', 'create', 'dry2', '--new-disk', '1G'],
      ['vm', 'start', 'dry'],
      ['vm', 'rename', 'dry', 'wet'],
      ['vm', 'force-stop', 'dry'],
      ['vm', 'delete', 'dry', '--with-disks'],
      ['snapshot', 'create', 'dry', 'first'],
      ['host', 'set', '--vhd-path', at('elsewhere')],
      ['vhd', 'create', at('dry.vhdx'), '--size', '1G'],
      ['template', 'build-linux', at('dry-template.vhdx')],
    ];
    for (const words of commands)
      expect(await json([...words, '--dry-run'])).toMatchObject({ dryRun: true, would: expect.any(String) });
    expect(await treeOf(folder.path)).toEqual(before);
    await json(['vm', 'delete', 'dry', '--yes']);
  });

  it('are kept apart by --home', async () => {
    await json(['vm', 'create', 'elsewhere', '--home', at('home2')]);
    expect(await json(['vm', 'list', '--home', at('home2')])).toHaveLength(1);
    expect(await json(['vm', 'list'])).toEqual([]);
  });
});

describeBuilt('disk files', () => {
  it('are made and shown, every size in bytes', async () => {
    const made = await json(['vhd', 'create', at('disk.vhdx'), '--size', '64G', '--block-size', '2M']);
    const expected = {
      format: 'vhdx',
      type: 'dynamic',
      virtualSizeBytes: 64 * 2 ** 30,
      blockSizeBytes: 2 ** 21,
      logicalSectorSizeBytes: 512,
      parentPath: null,
    };
    expect(made).toMatchObject(expected);
    const info = await json(['vhd', 'info', at('disk.vhdx')]);
    expect(info).toMatchObject({
      ...expected,
      fileSizeBytes: expect.any(Number),
      identifier: expect.stringMatching(/^[0-9a-f-]{36}$/i),
    });
    const child = await json([
      'vhd',
      'create',
      at('child.vhdx'),
      '--type',
      'differencing',
      '--parent',
      at('disk.vhdx'),
    ]);
    expect(child).toMatchObject({ type: 'differencing', virtualSizeBytes: 64 * 2 ** 30, parentPath: at('disk.vhdx') });
    const fixed = await json(['vhd', 'create', at('fixed.vhdx'), '--size', '8M', '--type', 'fixed']);
    expect(fixed).toMatchObject({ type: 'fixed', virtualSizeBytes: 8 * 2 ** 20 });
  });

  it.each([
    [['--size', '0'], 2],
    [['--size', '-1G'], 2],
    [['--size', 'big'], 2],
    [['--size', '1P'], 2],
    [['--size', '9999999T'], 2],
    [['--size', '65T'], 2],
    [['--size', '1000'], 2],
    [['--size', '1G', '--block-size', '3M'], 2],
    [['--size', '1G', '--type', 'sparse'], 2],
    [['--size', '1G', '--parent', 'x.vhdx'], 2],
    [['--type', 'differencing'], 2],
    [[], 2],
  ])('are refused with %j before anything is made', async (options, status) => {
    expect(await refusal(['vhd', 'create', at('refused.vhdx'), ...options])).toMatchObject({ status });
    expect(existsSync(at('refused.vhdx'))).toBe(false);
  });

  it('are never overwritten', async () => {
    await writeFile(at('mine.vhdx'), 'mine');
    for (const extra of [[], ['--dry-run']]) {
      expect(await refusal(['vhd', 'create', at('mine.vhdx'), '--size', '1G', ...extra])).toMatchObject({
        status: 4,
        code: 'already-exists',
      });
    }
    expect(await readFile(at('mine.vhdx'), 'utf8')).toBe('mine');
    expect(await refusal(['vhd', 'info', at('mine.vhdx')])).toMatchObject({ status: 1, code: 'corrupt' });
    expect(await refusal(['vhd', 'info', at('nothing.vhdx')])).toMatchObject({ status: 3, code: 'not-found' });
  });

  it('are served until SIGTERM, which ends with 0', async () => {
    await json(['vhd', 'create', at('served.vhdx'), '--size', '16M']);
    const socketPath = at('nbd.sock');
    const ran = await run(['vhd', 'serve', at('served.vhdx'), '--socket', socketPath, '--json'], {
      onStart: (child) => {
        child.stdout?.once('data', () => {
          const socket = connect(socketPath, () => socket.destroy());
          socket.once('close', () => child.kill('SIGTERM'));
          socket.once('error', () => child.kill('SIGKILL'));
        });
      },
    });
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    expect(JSON.parse(ran.stdout)).toMatchObject({
      path: at('served.vhdx'),
      socketPath,
      sizeBytes: 16 * 2 ** 20,
      readOnly: false,
    });
  });

  it('are served to nobody without a socket, or when they are not there', async () => {
    expect(await refusal(['vhd', 'serve', at('served.vhdx')])).toMatchObject({ status: 2 });
    expect(await refusal(['vhd', 'serve', at('nothing.vhdx'), '--socket', at('n.sock')])).toMatchObject({
      status: 3,
      code: 'not-found',
    });
  });
});

describeBuilt('the process', () => {
  it('ends quietly when nobody reads its output any more', async () => {
    const { stdout, stderr } = await promisify(execFile)('bash', [
      '-c',
      `"${process.execPath}" "${MAIN}" vm create --help | true; echo "\${PIPESTATUS[0]}"`,
    ]);
    expect(stdout).toBe('0\n');
    expect(stderr).toBe('');
  });

  it('tells which settings file is damaged instead of crashing', async () => {
    await mkdir(at('home3'), { recursive: true, mode: 0o700 });
    await writeFile(at('home3/host.json'), '{"schemaVersion":');
    expect(await refusal(['host', 'info', '--home', at('home3')])).toMatchObject({ status: 1, code: 'corrupt' });
  });
});

/** Every file below a folder but the logs, locks and sockets that any command may touch. */
async function treeOf(path: string): Promise<string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile() && !/\.(log|lock|sock)$/.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
