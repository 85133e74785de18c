import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { copyIntoGuest, copyOutOfGuest } from '../../src/engines/qemu/guest/copy.ts';
import { runInGuest } from '../../src/engines/qemu/guest/exec.ts';
import { takePairs } from '../../src/engines/qemu/guest/key-value-pairs.ts';
import { setGuestTime } from '../../src/engines/qemu/guest/time.ts';
import { isRoot, runProgram } from '../../src/system/index.ts';
import { type AgentBehaviour, type AgentRequest, FakeAgent, syncAnswer } from '../qmp/fake-agent.ts';

/** What a program of the guest does: its output and status, or nothing for one that never ends. */
type Programs = (script: string, words: readonly string[]) => { out?: string; status?: number } | undefined;

interface Lies {
  readonly programs?: Programs;
  readonly commands?: readonly string[];
  /** Answers in place of the honest ones; undefined is silence. */
  readonly answers?: Readonly<Record<string, (request: AgentRequest) => unknown>>;
}

const COMMANDS = ['guest-exec', 'guest-exec-status', 'guest-file-open', 'guest-file-read', 'guest-file-write'];

/** An agent that speaks the protocol and lies with what it says. */
function liar({ programs = () => ({}), commands = COMMANDS, answers = {} }: Lies): AgentBehaviour {
  const running = new Map<number, ReturnType<Programs>>();
  return (request) => {
    const { execute, arguments: args } = request;
    if (execute === 'guest-sync-delimited') return syncAnswer(request);
    const reply = (value: unknown): string => `${JSON.stringify({ return: value })}\n`;
    const lie = answers[execute];
    if (lie) {
      const value = lie(request);
      return value === undefined ? undefined : reply(value);
    }
    switch (execute) {
      case 'guest-info':
        return reply({ version: '1', supported_commands: commands.map((name) => ({ name, enabled: true })) });
      case 'guest-exec': {
        const words = [args.path, ...(args.arg as readonly string[])].map(String);
        const pid = running.size + 1;
        running.set(pid, programs(words[1] === '-c' ? (words[2] ?? '') : words.join(' '), words.slice(3)));
        return reply({ pid });
      }
      case 'guest-exec-status': {
        const ended = running.get(Number(args.pid));
        if (!ended) return reply({ exited: false });
        const out = Buffer.from(ended.out ?? '').toString('base64');
        return reply({ exited: true, exitcode: ended.status ?? 0, 'out-data': out });
      }
      case 'guest-file-open':
        return reply(7);
      case 'guest-file-write':
        return reply({ count: Buffer.from(String(args['buf-b64']), 'base64').length, eof: false });
      default:
        return reply({});
    }
  };
}

const piece = (text: string, eof: boolean) => () => ({
  count: text.length,
  'buf-b64': Buffer.from(text).toString('base64'),
  eof,
});

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-liar-'));
  await writeFile(join(folder, 'source'), 'abc');
});
afterEach(() => rm(folder, { recursive: true }));

describe('copying out of a guest that lies', () => {
  const copyOut = async (lies: Lies, code: string): Promise<void> => {
    await using agent = await FakeAgent.start(liar(lies));
    const work = copyOutOfGuest(agent.client, 'linux', '/x', join(folder, 'x'), {});
    await expect(work).rejects.toMatchObject({ code });
    expect(await readdir(folder)).toEqual(['source']);
    expect(agent.commands).not.toContain('guest-file-write');
  };
  const says =
    (size: string, hash = ''): Programs =>
    (script) => ({ out: script.includes('echo folder') ? 'file' : script.startsWith('wc') ? size : hash });

  it('ends where the file is longer than the guest said, however much more comes', () =>
    copyOut({ programs: says('3'), answers: { 'guest-file-read': piece('endless', false) } }, 'io'));
  it('ends where the file is shorter than the guest said', () =>
    copyOut({ programs: says('30'), answers: { 'guest-file-read': piece('abc', true) } }, 'io'));
  it('ends where the hash is another one', () =>
    copyOut({ programs: says('3', 'f'.repeat(64)), answers: { 'guest-file-read': piece('abc', true) } }, 'corrupt'));
  it('ends where the guest says no hash', () =>
    copyOut({ programs: says('3', 'no hash'), answers: { 'guest-file-read': piece('abc', true) } }, 'corrupt'));
  it('ends where a piece has another length than it claims', () =>
    copyOut(
      { programs: says('3'), answers: { 'guest-file-read': () => ({ count: 2, 'buf-b64': 'YWJj', eof: true }) } },
      'protocol',
    ));
  it('ends where the guest does not say how large the file is', () => copyOut({ programs: says('-1') }, 'protocol'));
  it('ends where the guest does not say what it is', () =>
    copyOut({ programs: () => ({ out: '\u001b[2Jfile' }) }, 'protocol'));
  it('ends where what is read back is something else', () => {
    let reads = 0;
    const changing = (): unknown => piece(`ab${reads++}`, true)();
    return copyOut({ commands: COMMANDS.slice(2), answers: { 'guest-file-read': changing } }, 'corrupt');
  });
});

// Only root may mount the small file system that would fill up.
describe.skipIf(!isRoot())('a guest that sends for ever (needs root: it mounts a tmpfs)', () => {
  it('does not fill the file system that it is copied to', async () => {
    const small = join(folder, 'small');
    await mkdir(small);
    await runProgram('mount', ['-t', 'tmpfs', '-o', 'size=288m', 'hv-test', small], { deadlineMs: 10_000 });
    try {
      const endless = piece('x'.repeat(256 * 1024), false);
      const lies = {
        commands: COMMANDS.filter((name) => name !== 'guest-exec'),
        answers: { 'guest-file-read': endless },
      };
      await using agent = await FakeAgent.start(liar(lies));
      const work = copyOutOfGuest(agent.client, 'windows', 'C:\\x', join(small, 'x'), {});
      await expect(work).rejects.toMatchObject({ code: 'no-space' });
      expect(await readdir(small)).toEqual([]);
    } finally {
      await runProgram('umount', [small], { deadlineMs: 10_000 });
    }
  });
});

describe('copying into a guest that lies', () => {
  it('removes what it began, and says so, where the guest has something else then', async () => {
    const scripts: string[] = [];
    const programs: Programs = (script) => {
      scripts.push(script);
      if (script.includes('echo folder')) return { out: 'none' };
      return { out: script.startsWith('sha256sum') ? `${'0'.repeat(64)}  -` : '' };
    };
    await using agent = await FakeAgent.start(liar({ programs }));
    const work = copyIntoGuest(agent.client, 'linux', join(folder, 'source'), '/x', {});
    await expect(work).rejects.toMatchObject({ code: 'corrupt' });
    expect(scripts.at(-1)).toBe('rm -f -- "$0"');
    expect(scripts.some((script) => script.includes('mv '))).toBe(false);
  });

  it('does not go on for ever into folders that hold folders', async () => {
    await using agent = await FakeAgent.start(liar({ programs: () => ({ out: 'folder' }) }));
    const work = copyIntoGuest(agent.client, 'linux', join(folder, 'source'), '/x', {});
    await expect(work).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  it('writes and reads back where no program may be run, and empties what it began where that fails', async () => {
    let content = '';
    const opened: string[] = [];
    const answers: Lies['answers'] = {
      'guest-file-open': ({ arguments: { mode } }) => {
        opened.push(String(mode));
        return 7;
      },
      'guest-file-write': ({ arguments: args }) => {
        content = Buffer.from(String(args['buf-b64']), 'base64').toString();
        return { count: content.length, eof: false };
      },
      'guest-file-read': () => piece(content, true)(),
    };
    await using agent = await FakeAgent.start(liar({ commands: COMMANDS.slice(2), answers }));
    const copy = (force: boolean) => copyIntoGuest(agent.client, 'windows', join(folder, 'source'), 'C:\\x', { force });
    await expect(copy(false)).rejects.toMatchObject({ code: 'already-exists' });
    expect(await copy(true)).toMatchObject({ path: 'C:\\x', sizeBytes: 3, verifiedBy: 'read-back' });
    expect(opened).toEqual(['r', 'w', 'r']);
    await using bad = await FakeAgent.start(
      liar({ commands: [], answers: { ...answers, 'guest-file-read': piece('other', true) } }),
    );
    const work = copyIntoGuest(bad.client, 'windows', join(folder, 'source'), 'C:\\x', { force: true });
    await expect(work).rejects.toMatchObject({ code: 'corrupt' });
    expect(opened.slice(3)).toEqual(['w', 'r', 'w']);
  });
});

describe('programs in a guest that lies', () => {
  it('are given up and killed in time where they never end', async () => {
    const killed: string[] = [];
    const programs: Programs = (script) => {
      if (!script.startsWith('/bin/kill')) return undefined;
      killed.push(script);
      return { status: 0 };
    };
    await using agent = await FakeAgent.start(liar({ programs }));
    await expect(runInGuest(agent.client, 'linux', 'x', [], { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'timeout',
      detail: { killed: true },
    });
    const signal = AbortSignal.timeout(50);
    await expect(runInGuest(agent.client, 'linux', 'x', [], { signal })).rejects.toMatchObject({ code: 'aborted' });
    expect(killed).toEqual(['/bin/kill -KILL 1', '/bin/kill -KILL 3']);
  });

  it('cannot name the file that their input goes into', async () => {
    await using agent = await FakeAgent.start(liar({ programs: () => ({ out: '/etc/passwd' }) }));
    const input = Buffer.alloc(600_000);
    await expect(runInGuest(agent.client, 'linux', 'cat', [], { input })).rejects.toMatchObject({
      code: 'guest-failed',
    });
    expect(agent.commands).not.toContain('guest-file-open');
  });

  it('have no environment, folder or large input in a Windows guest', async () => {
    await using agent = await FakeAgent.start(liar({}));
    for (const options of [{ environment: { A: 'b' } }, { workingDirectory: '/x' }, { input: Buffer.alloc(600_000) }]) {
      await expect(runInGuest(agent.client, 'windows', 'x', [], options)).rejects.toMatchObject({
        code: 'unsupported',
      });
    }
    expect(agent.commands).toEqual([]);
  });
});

describe('a guest that says odd things', () => {
  it('is held to a bound in key-value pairs, and to the characters that a key may have', async () => {
    const pairsOf = async (out: string): Promise<unknown> => {
      await using agent = await FakeAgent.start(liar({ programs: () => ({ out }) }));
      return await takePairs(agent.client);
    };
    expect(await pairsOf('a=1\nb c=2\n__proto__=3\na=\u001b]0;x\u0007four\n')).toEqual([
      ['a', 'four'],
      ['__proto__', '3'],
    ]);
    await expect(pairsOf('k=v\n'.repeat(100))).rejects.toMatchObject({ code: 'protocol' });
    await expect(pairsOf('x'.repeat(200_000))).rejects.toMatchObject({ code: 'protocol' });
  });

  it('is believed to have set its clock only where it then shows that time', async () => {
    const refuses = { class: 'GenericError', desc: 'hwclock failed' };
    const agentWith = (timeMs: () => number): Promise<FakeAgent> => {
      const behaviour = liar({ answers: { 'guest-get-time': () => timeMs() * 1e6 } });
      return FakeAgent.start((request, peer) =>
        request.execute === 'guest-set-time' ? `${JSON.stringify({ error: refuses })}\n` : behaviour(request, peer),
      );
    };
    let asked = 0;
    await using sets = await agentWith(() => (asked++ === 0 ? 0 : Date.now()));
    expect(await setGuestTime(sets.client, false)).toBeLessThan(-1e12);
    await using lies = await agentWith(() => 0);
    await expect(setGuestTime(lies.client, false)).rejects.toMatchObject({ code: 'guest-failed' });
  });
});
