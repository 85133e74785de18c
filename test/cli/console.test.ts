import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { PassThrough, Writable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { leaveNote, refuseWhenHeld } from '../../src/cli/serial/holder.ts';
import { serialSession } from '../../src/cli/serial/session.ts';
import { HostDouble } from './host-double.ts';
import { run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

// The console against a port that answers in capitals, over a real Unix socket.

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
let path: string;
let close: () => Promise<void>;
let clients: Socket[];

beforeEach(async () => {
  folder = await temporaryFolder();
  path = join(folder.path, 'serial.sock');
  clients = [];
  const server = createServer((socket) => {
    clients.push(socket);
    socket.on('error', () => {});
    socket.on('data', (bytes: Buffer) => socket.write(bytes.toString('latin1').toUpperCase(), 'latin1'));
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  close = () =>
    new Promise((resolve) => {
      for (const client of clients) client.destroy();
      server.close(() => resolve());
    });
});
afterEach(async () => {
  await close();
  await folder[Symbol.asyncDispose]();
});

class Terminal {
  readonly modes: boolean[] = [];
  text = '';
  readonly stdin = Object.assign(new PassThrough(), {
    isTTY: true,
    setRawMode: (mode: boolean) => this.modes.push(mode),
  });
  readonly stdout = Object.assign(
    new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        this.text += chunk.toString('latin1');
        done();
      },
    }),
    { isTTY: true },
  );

  session(signal: AbortSignal = new AbortController().signal): ReturnType<typeof serialSession> {
    const streams = { stdin: this.stdin, stdout: this.stdout, stderr: this.stdout };
    // What a session uses of a terminal's streams is there.
    return serialSession({
      socketPath: path,
      streams: streams as unknown as Parameters<typeof serialSession>[0]['streams'],
      signal,
      quietMs: 100,
      onConnected: () => {},
    });
  }
}

describe('the console on a terminal', () => {
  it('passes keys on, Ctrl-C too, until Ctrl-], and restores the terminal', async () => {
    const terminal = new Terminal();
    const session = terminal.session();
    terminal.stdin.write('ls\u0003\r');
    await expect.poll(() => terminal.text).toContain('LS\u0003\r');
    terminal.stdin.write('bye\u001dnever sent');
    expect(await session).toBe('left');
    expect(terminal.modes).toEqual([true, false]);
    expect(terminal.text).not.toContain('NEVER');
  });

  it('ends when the machine closes the port, and restores the terminal', async () => {
    const terminal = new Terminal();
    const session = terminal.session();
    await expect.poll(() => clients.length).toBe(1);
    clients[0]?.end('going down');
    expect(await session).toBe('closed');
    expect(terminal.text).toContain('going down');
    expect(terminal.modes).toEqual([true, false]);
  });

  it('ends when it is interrupted from outside, and restores the terminal', async () => {
    const terminal = new Terminal();
    await expect(terminal.session(AbortSignal.timeout(50))).rejects.toMatchObject({ code: 'aborted' });
    expect(terminal.modes).toEqual([true, false]);
  });
});

it('shows once what is both in the log and on the connection', async () => {
  const terminal = new Terminal();
  const controller = new AbortController();
  const streams = { stdin: terminal.stdin, stdout: terminal.stdout, stderr: terminal.stdout };
  const session = serialSession({
    socketPath: path,
    streams: streams as unknown as Parameters<typeof serialSession>[0]['streams'],
    signal: controller.signal,
    quietMs: 100,
    onConnected: () => {},
    backlog: async () => {
      await expect.poll(() => clients.length).toBe(1);
      clients[0]?.write('in both; only here');
      await new Promise((resolve) => setTimeout(resolve, 50));
      return '\u001b[31mbefore\nin both; ';
    },
  });
  await expect.poll(() => terminal.text).toBe('before\r\nin both; only here');
  controller.abort();
  await expect(session).rejects.toMatchObject({ code: 'aborted' });
});

describe('the console in a pipe', () => {
  it('sends what comes and leaves once input has ended and the port is quiet', async () => {
    const double = new HostDouble();
    double.consolePath = path;
    double.add({ name: 'web1', state: 'Running' });
    const ran = await run(['vm', 'console', 'web1', '--quiet-time', '200ms'], { double, input: 'hello\nworld\n' });
    expect(ran).toMatchObject({ status: 0, stdout: 'HELLO\nWORLD\n' });
  });

  it('shows the last lines of the log first', async () => {
    const double = new HostDouble();
    double.consolePath = path;
    double.logs = { serial: 'one\r\ntwo\r\nthree', engine: '', worker: '' };
    double.add({ name: 'web1', state: 'Running' });
    const shown = async (lines: string): Promise<string> =>
      (await run(['vm', 'console', 'web1', '--quiet-time', '200ms', '--lines', lines], { double, input: 'x' })).stdout;
    expect(await shown('0')).toBe('X');
    expect(await shown('2')).toBe('two\r\nthreeX');
    expect(await shown('9')).toBe('one\r\ntwo\r\nthreeX');
    expect((await run(['vm', 'console', 'web1', '--lines', '-1'], { double, input: '' })).status).toBe(2);
  });

  it('ends with an error where no port is', async () => {
    const double = new HostDouble();
    double.consolePath = join(folder.path, 'none.sock');
    double.add({ name: 'web1', state: 'Running' });
    expect((await run(['vm', 'console', 'web1'], { double, input: '' })).status).toBe(3);
  });
});

describe.skipIf(process.platform !== 'linux')('a console in use (told by /proc/net/unix, so on Linux only)', () => {
  it('is refused with who holds it', async () => {
    await refuseWhenHeld(path, 'web1');
    const removeNote = await leaveNote(path);
    const terminal = new Terminal();
    const session = terminal.session();
    await expect.poll(() => clients.length).toBe(1);
    await expect(refuseWhenHeld(path, 'web1')).rejects.toMatchObject({
      code: 'in-use',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    terminal.stdin.write('\u001d');
    await session;
    await removeNote();
    await expect
      .poll(() =>
        refuseWhenHeld(path, 'web1').then(
          () => 'free',
          () => 'held',
        ),
      )
      .toBe('free');
  });
});
