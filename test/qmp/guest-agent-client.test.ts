import { describe, expect, it } from 'vitest';
import { type AgentBehaviour, FakeAgent, syncAnswer } from './fake-agent.ts';

/** Synchronises honestly and answers every command with what `answers` says. */
function honest(answers: Readonly<Record<string, unknown>>): AgentBehaviour {
  return (request) => {
    if (request.execute === 'guest-sync-delimited') return syncAnswer(request);
    const answer = answers[request.execute];
    return answer === undefined ? undefined : `${JSON.stringify(answer)}\n`;
  };
}

/** Synchronises honestly, then sends these bytes for the first command and is honest about the rest. */
function misbehavesOnce(bytes: string | Buffer | undefined): AgentBehaviour {
  let isFirst = true;
  return (request) => {
    if (request.execute === 'guest-sync-delimited') return syncAnswer(request);
    if (!isFirst) return '{"return":{}}\n';
    isFirst = false;
    return bytes;
  };
}

describe('GuestAgentClient against a well-behaved peer', () => {
  it('asks for what the guest is, without anything that a terminal would obey', async () => {
    await using agent = await FakeAgent.start(
      honest({
        'guest-ping': { return: {} },
        'guest-info': {
          return: {
            version: '7.2.22',
            supported_commands: [
              { name: 'guest-exec', enabled: true, 'success-response': true },
              { name: 'guest-set-time', enabled: false, 'success-response': true },
            ],
          },
        },
        'guest-get-osinfo': { return: { id: 'debian', 'pretty-name': '\u001b[31mDebian\u202e 12', new: 1 } },
        'guest-get-host-name': { return: { 'host-name': 'web1\u001b]0;owned\u0007' } },
        'guest-get-time': { return: 1.7000000001234568e18 },
        'guest-network-get-interfaces': {
          return: [
            { name: 'lo', 'ip-addresses': [{ 'ip-address': '127.0.0.1', 'ip-address-type': 'ipv4', prefix: 8 }] },
            {
              name: 'eth0\n',
              'hardware-address': '00-15-5D-01-02-0A',
              'ip-addresses': [{ 'ip-address': 'fe80::1%eth0', 'ip-address-type': 'ipv6', prefix: 64 }],
              statistics: {},
            },
            { name: 'ib0', 'hardware-address': `80:00:00:48:fe:80${':00'.repeat(14)}` },
          ],
        },
      }),
    );
    const { client } = agent;
    await client.ping();
    await expect(client.info()).resolves.toEqual({ version: '7.2.22', commands: ['guest-exec'] });
    await expect(client.osInfo()).resolves.toMatchObject({ id: 'debian', prettyName: 'Debian 12' });
    await expect(client.hostName()).resolves.toBe('web1');
    await expect(client.time()).resolves.toBe(1_700_000_000_123);
    await expect(client.networkInterfaces()).resolves.toEqual([
      { name: 'lo', macAddress: undefined, addresses: [{ address: '127.0.0.1', prefixLength: 8 }] },
      { name: 'eth0', macAddress: '00:15:5d:01:02:0a', addresses: [{ address: 'fe80::1', prefixLength: 64 }] },
      { name: 'ib0', macAddress: undefined, addresses: [] },
    ]);
  });

  it('runs commands one at a time, in the order of the calls', async () => {
    let running = 0;
    let most = 0;
    await using agent = await FakeAgent.start((request, peer) => {
      if (request.execute === 'guest-sync-delimited') return syncAnswer(request);
      most = Math.max(most, ++running);
      setTimeout(() => {
        running--;
        peer.write(`{"return":${JSON.stringify(request.arguments.number)}}\n`);
      }, 5);
      return undefined;
    });
    const numbers = Array.from({ length: 10 }, (_, number) => number);
    const answers = await Promise.all(numbers.map((number) => agent.client.call('echo', { number })));
    expect(answers).toEqual(numbers);
    expect(most).toBe(1);
  });

  it('runs a program with input, polls for its end and decodes its output', async () => {
    let polls = 0;
    const started: unknown[] = [];
    await using agent = await FakeAgent.start((request) => {
      switch (request.execute) {
        case 'guest-sync-delimited':
          return syncAnswer(request);
        case 'guest-exec':
          started.push(request.arguments);
          return '{"return":{"pid":77}}\n';
        default: {
          if (++polls < 3) return '{"return":{"exited":false}}\n';
          const out = Buffer.from('x'.repeat(2_000_000)).toString('base64');
          return `${JSON.stringify({ return: { exited: true, exitcode: 3, 'out-data': out, 'err-data': 'w6Q=' } })}\n`;
        }
      }
    });
    const result = await agent.client.exec('/bin/sh', ['-c', 'cat'], { input: 'ä' });
    expect(result).toMatchObject({ exitCode: 3, endSignal: undefined, isTruncated: false });
    expect(result.output.length).toBe(2_000_000);
    expect(result.errorOutput.toString()).toBe('ä');
    expect(started).toEqual([{ path: '/bin/sh', arg: ['-c', 'cat'], 'capture-output': true, 'input-data': 'w6Q=' }]);
    polls = 0;
    await expect(agent.client.exec('/bin/sh', [], { maxOutputBytes: 1000 })).rejects.toMatchObject({
      code: 'protocol',
    });
  });

  it('gives up on a program that does not end, naming it', async () => {
    await using agent = await FakeAgent.start(
      honest({ 'guest-exec': { return: { pid: 9 } }, 'guest-exec-status': { return: { exited: false } } }),
    );
    await expect(agent.client.exec('/bin/sleep', ['9'], { timeoutMs: 150 })).rejects.toMatchObject({ code: 'timeout' });
  });

  it('writes and reads files in pieces and closes them, also after a failure', async () => {
    const files = new Map<string, Buffer>();
    const open = new Map<number, { path: string; at: number }>();
    let lastHandle = 1000;
    await using agent = await FakeAgent.start((request) => {
      const args = request.arguments;
      const file = open.get(Number(args.handle));
      const answer = (value: unknown): string => `${JSON.stringify({ return: value })}\n`;
      switch (request.execute) {
        case 'guest-sync-delimited':
          return syncAnswer(request);
        case 'guest-file-open': {
          const path = String(args.path);
          if (args.mode === 'r' && !files.has(path)) {
            return '{"error":{"class":"GenericError","desc":"failed to open file: No such file\\u001b[2J"}}\n';
          }
          if (args.mode === 'w') files.set(path, Buffer.alloc(0));
          open.set(++lastHandle, { path, at: 0 });
          return answer(lastHandle);
        }
        case 'guest-file-write': {
          const bytes = Buffer.from(String(args['buf-b64']), 'base64').subarray(0, 100_000); // a short write
          files.set(file?.path ?? '', Buffer.concat([files.get(file?.path ?? '') ?? Buffer.alloc(0), bytes]));
          return answer({ count: bytes.length, eof: false });
        }
        case 'guest-file-read': {
          const content = files.get(file?.path ?? '') ?? Buffer.alloc(0);
          const piece = content.subarray(file?.at ?? 0, (file?.at ?? 0) + Number(args.count));
          if (file) file.at += piece.length;
          const isEnd = (file?.at ?? 0) >= content.length;
          return answer({ count: piece.length, 'buf-b64': piece.toString('base64'), eof: isEnd });
        }
        case 'guest-file-close':
          open.delete(Number(args.handle));
          return answer({});
        default:
          return answer({});
      }
    });
    const content = Buffer.from(Array.from({ length: 600_000 }, (_, at) => (at * 7919) & 0xff));
    await agent.client.fileWrite('/tmp/x', content);
    expect(files.get('/tmp/x')?.equals(content)).toBe(true);
    expect((await agent.client.fileRead('/tmp/x')).equals(content)).toBe(true);
    await expect(agent.client.fileRead('/tmp/x', { maxBytes: 1000 })).rejects.toMatchObject({ code: 'protocol' });
    await expect(agent.client.fileRead('/none')).rejects.toMatchObject({
      code: 'guest-failed',
      message: 'the guest agent refused guest-file-open: failed to open file: No such file',
    });
    expect(open.size).toBe(0);
  });

  it('takes silence as the success of a shutdown, and a refusal as one', async () => {
    await using silent = await FakeAgent.start(honest({}));
    await silent.client.shutdown('reboot');
    expect(silent.requests.at(-1)).toEqual({ execute: 'guest-shutdown', arguments: { mode: 'reboot' } });
    await using ending = await FakeAgent.start((request, peer) => {
      if (request.execute === 'guest-sync-delimited') return syncAnswer(request);
      peer.destroy();
      return undefined;
    });
    await ending.client.shutdown();
    await using refusing = await FakeAgent.start(
      honest({ 'guest-shutdown': { error: { class: 'CommandNotFound', desc: 'disabled' } } }),
    );
    await expect(refusing.client.shutdown()).rejects.toMatchObject({ code: 'unsupported' });
    await using absent = await FakeAgent.start(() => undefined);
    await expect(absent.client.shutdown('powerdown', { timeoutMs: 2000 })).rejects.toMatchObject({ code: 'timeout' });
    expect(absent.commands).toEqual([]);
  });

  it('thaws after the work, after its failure and after a freeze in doubt', async () => {
    await using agent = await FakeAgent.start(
      honest({ 'guest-fsfreeze-freeze': { return: 2 }, 'guest-fsfreeze-thaw': { return: 2 } }),
    );
    await expect(agent.client.withFrozenFilesystems(async () => 'done')).resolves.toBe('done');
    await expect(agent.client.withFrozenFilesystems(() => Promise.reject(new Error('work failed')))).rejects.toThrow(
      'work failed',
    );
    const [freeze, thaw] = ['guest-fsfreeze-freeze', 'guest-fsfreeze-thaw'];
    expect(agent.commands).toEqual([freeze, thaw, freeze, thaw]);
    await using hanging = await FakeAgent.start(honest({ 'guest-fsfreeze-thaw': { return: 1 } }));
    await expect(hanging.client.withFrozenFilesystems(async () => 'never', { timeoutMs: 100 })).rejects.toMatchObject({
      code: 'timeout',
    });
    expect(hanging.commands).toEqual([freeze, thaw]);
  });
});

describe('GuestAgentClient against a hostile peer', () => {
  it('ends in a timeout when nobody answers, sends no command unsynchronised, and works once somebody does', async () => {
    let isAwake = false;
    await using agent = await FakeAgent.start((request) => {
      if (!isAwake) return undefined;
      return request.execute === 'guest-sync-delimited' ? syncAnswer(request) : '{"return":{}}\n';
    });
    await expect(agent.client.ping({ timeoutMs: 100 })).rejects.toMatchObject({
      code: 'timeout',
      hint: expect.stringContaining('qemu-guest-agent'),
    });
    expect(agent.commands).toEqual([]);
    isAwake = true;
    await agent.client.ping();
  });

  it('finds its answer behind junk, half lines, stale answers and wrong identifiers', async () => {
    await using agent = await FakeAgent.start(
      (request, peer) => {
        if (request.execute !== 'guest-sync-delimited') return '{"return":"mine"}\n';
        const answer = syncAnswer(request);
        peer.write('{"return":"stale"}\n{"half":');
        peer.write(Buffer.concat([Buffer.from([0xff]), Buffer.from('{"return":123}\n{"return":{}}\n\x01\x02')]));
        peer.write(Buffer.concat([answer.subarray(0, 5)]));
        peer.write(Buffer.from([0xff, 0xff]));
        setTimeout(() => {
          peer.write(answer.subarray(0, 4));
          setTimeout(() => peer.write(answer.subarray(4)), 5);
        }, 5);
        return undefined;
      },
      { onConnect: (peer) => peer.write('login: root\r\n'.repeat(5000)) },
    );
    await expect(agent.client.call('x')).resolves.toBe('mine');
    await expect(agent.client.call('y')).resolves.toBe('mine');
  });

  it('does not take a second answer to one command for the answer to the next', async () => {
    let number = 0;
    await using agent = await FakeAgent.start((request) => {
      if (request.execute === 'guest-sync-delimited') return Buffer.concat([syncAnswer(request), syncAnswer(request)]);
      number++;
      return `{"return":${number}}\n{"return":${number}}\n{"return":"again"}\n`;
    });
    for (const expected of [1, 2, 3]) {
      await expect(agent.client.call('count')).resolves.toBe(expected);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  });

  it.each([
    ['a line without an end', `{"return":"${'x'.repeat(3 * 2 ** 20)}`],
    ['an endless line of brackets', '['.repeat(3 * 2 ** 20)],
    ['text that is not JSON', 'hello\n'],
    ['an array', '[]\n'],
    ['an object that answers nothing', '{"event":"X"}\n'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xc3, 0x28, 0x22, 0x3a, 0x31, 0x7d, 0x0a])],
  ])('fails the command and serves the next one after %s', async (_what, bytes) => {
    await using agent = await FakeAgent.start(misbehavesOnce(bytes));
    await expect(agent.client.ping()).rejects.toMatchObject({ code: 'protocol' });
    await agent.client.ping();
  });

  it('serves the next command after a half answer that never ended', async () => {
    await using agent = await FakeAgent.start(misbehavesOnce('{"return":{"a"'));
    await expect(agent.client.ping({ timeoutMs: 100 })).rejects.toMatchObject({ code: 'timeout' });
    await agent.client.ping();
  });

  it.each([
    ['a name that is a number', [{ name: 5 }]],
    ['an address that is none', [{ name: 'e', 'ip-addresses': [{ 'ip-address': '1.2.3.4; rm', prefix: 8 }] }]],
    ['a prefix out of range', [{ name: 'e', 'ip-addresses': [{ 'ip-address': '1.2.3.4', prefix: 4096 }] }]],
    ['no list', { name: 'e' }],
    ['too many', Array.from({ length: 5000 }, () => ({ name: 'e' }))],
  ])('refuses interfaces with %s', async (_what, answer) => {
    await using agent = await FakeAgent.start(honest({ 'guest-network-get-interfaces': { return: answer } }));
    await expect(agent.client.networkInterfaces()).rejects.toMatchObject({ code: 'protocol' });
  });

  it('refuses a piece of a file whose length is not what the agent claims', async () => {
    await using agent = await FakeAgent.start(
      honest({
        'guest-file-open': { return: 1 },
        'guest-file-read': { return: { count: 100, 'buf-b64': 'AAAA', eof: true } },
        'guest-file-close': { return: {} },
      }),
    );
    await expect(agent.client.fileRead('/x')).rejects.toMatchObject({ code: 'protocol' });
    expect(agent.commands.at(-1)).toBe('guest-file-close');
  });

  it('holds a guest back that talks without being asked', async () => {
    let blockedAt = 0;
    await using agent = await FakeAgent.start(honest({ 'guest-ping': { return: {} } }), {
      onConnect: (peer) => {
        const noise = Buffer.alloc(64 * 1024, 'noise ');
        let sentBytes = 0;
        while (sentBytes < 64 * 2 ** 20 && peer.writableLength < 2 ** 20) {
          peer.write(noise);
          sentBytes += noise.length;
        }
        blockedAt = sentBytes;
      },
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(blockedAt).toBeLessThan(4 * 2 ** 20);
    await agent.client.ping();
  });

  it('fails what waits when the channel ends, and everything after', async () => {
    await using agent = await FakeAgent.start((request) =>
      request.execute === 'guest-sync-delimited' ? syncAnswer(request) : undefined,
    );
    const waiting = agent.client.ping();
    setTimeout(() => agent.hangUp(), 20);
    await expect(waiting).rejects.toMatchObject({ code: 'io' });
    await agent.client.closed;
    await expect(agent.client.ping()).rejects.toMatchObject({ code: 'io' });
  });

  it('stops at an abort, also in the queue, where the command is then never sent', async () => {
    await using agent = await FakeAgent.start((request) =>
      request.execute === 'guest-sync-delimited' ? syncAnswer(request) : undefined,
    );
    const abort = new AbortController();
    const first = agent.client.call('first', {}, { timeoutMs: 200 });
    const second = agent.client.call('second', {}, { signal: abort.signal });
    abort.abort();
    await expect(second).rejects.toMatchObject({ code: 'aborted' });
    await expect(first).rejects.toMatchObject({ code: 'timeout' });
    expect(agent.commands).toEqual(['first']);
  });
});
