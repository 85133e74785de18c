import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { describeBuilt, hv, type ProcessOptions, type ProcessResult } from './built.ts';
import { temporaryFolder } from './temporary-folder.ts';

// What `npm start` runs, and then the command line on the machine that it leaves: a real guest boots here.

const EXAMPLE = fileURLToPath(new URL('../../dist/examples/first-machine.js', import.meta.url));

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let env: NodeJS.ProcessEnv;
beforeAll(async () => {
  folder = await temporaryFolder();
  env = { ...process.env, HV_HOME: join(folder.path, 'home'), HV_RUN: join(folder.path, 'run') };
});
afterAll(async () => {
  await run(['vm', 'force-stop', 'first-machine']);
  await run(['vm', 'delete', 'first-machine', '--yes']);
  await folder[Symbol.asyncDispose]();
});

const run = (words: readonly string[], options: ProcessOptions = {}): Promise<ProcessResult> =>
  hv(words, { env, ...options });

async function json(words: readonly string[]): Promise<Record<string, unknown>> {
  const ran = await run([...words, '--json']);
  expect(ran).toMatchObject({ status: 0, stderr: '' });
  return JSON.parse(ran.stdout);
}

function example(onOutput: (child: ChildProcess, soFar: string) => void = () => {}): Promise<ProcessResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [EXAMPLE], { env, timeout: 110_000 });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
      onOutput(child, stdout);
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, stdout, stderr }));
  });
}

describeBuilt('the first machine', () => {
  it('goes from nothing to a running guest and stops it in order', async () => {
    const ran = await example();
    expect(ran.stderr).toBe('');
    expect(ran.status).toBe(0);
    expect(ran.stdout).toMatch(/Guest +says: "hv linux guest .* ready: kernel /);
    expect(ran.stdout).toMatch(/IP address is \d+\.\d+\.\d+\.\d+/);
    expect(ran.stdout).toMatch(/Snapshot +"Before update"/);
    expect(ran.stdout).toMatch(/Stop +the guest shut down in order; state: Off/);
    expect(ran.stdout.match(/^ {2}npx hv /gm)).toHaveLength(3);
    const picture = /Screenshot +(?<path>.*)$/m.exec(ran.stdout)?.groups?.path;
    expect((await readFile(picture ?? '')).subarray(1, 4).toString('latin1')).toBe('PNG');
    expect(await json(['vm', 'list'])).toMatchObject([{ name: 'first-machine', state: 'Off' }]);
  });

  it('leaves a machine that the command line starts, talks to and stops', async () => {
    expect(await json(['vm', 'start', 'first-machine'])).toMatchObject({ name: 'first-machine', state: 'Running' });
    expect(await json(['vm', 'wait', 'first-machine', '--for', 'ready', '--timeout', '90s'])).toMatchObject({
      holds: true,
    });
    expect(await json(['vm', 'info', 'first-machine'])).toMatchObject({
      state: 'Running',
      heartbeat: 'ok',
      snapshotCount: 1,
    });
    const console = await run(['vm', 'console', 'first-machine'], { input: 'echo answer-$((6*7))\n' });
    expect(console.status).toBe(0);
    expect(console.stdout).toContain('answer-42');
    expect((await run(['vm', 'logs', 'first-machine'])).stdout).toContain('answer-42');
    expect(await json(['snapshot', 'list', 'first-machine'])).toMatchObject([
      { name: 'Before update', vmState: 'Running', isCurrent: true },
    ]);

    const interrupted = await run(['vm', 'wait', 'first-machine', '--for', 'off', '--json'], {
      onStart: (child) => setTimeout(() => child.kill('SIGINT'), 2000),
    });
    expect(interrupted.status).toBe(130);
    expect(JSON.parse(interrupted.stderr).error.code).toBe('aborted');
    expect((await run(['vm', 'wait', 'first-machine', '--for', 'off', '--timeout', '300ms'])).status).toBe(10);

    expect(await json(['vm', 'stop', 'first-machine'])).toMatchObject({ state: 'Off' });
  });

  it('is replaced by the next run, which leaves nothing running when it is interrupted', async () => {
    const [before] = Object.values(await json(['vm', 'list'])) as { id: string }[];
    const ran = await example((child, soFar) => {
      if (/Start +state: Running/.test(soFar)) child.kill('SIGINT');
    });
    expect(ran.status).toBe(130);
    expect(ran.stdout).toContain('its first-machine is replaced');
    expect(ran.stderr).toContain('interrupted');
    const machines = Object.values(await json(['vm', 'list'])) as { id: string; state: string }[];
    expect(machines).toMatchObject([{ name: 'first-machine', state: 'Off' }]);
    expect(machines[0]?.id).not.toBe(before?.id);
  });
});
