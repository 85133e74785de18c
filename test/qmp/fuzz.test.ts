import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { HvError } from '../../src/errors/index.ts';
import { GuestAgentClient } from '../../src/protocols/qga/index.ts';
import {
  JsonLineChannel,
  JsonLineDecoder,
  QmpClient,
  type QmpListener,
  queryMigrate,
  queryStatus,
} from '../../src/protocols/qmp/index.ts';
import { streamPair } from './stream-pair.ts';

/** A small generator with a seed, so that every failure names the stream that causes it (mulberry32). */
function randomOf(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}

const SPICE: readonly Buffer[] = [
  '\n',
  '{',
  '}',
  '[[[[',
  '"',
  '\\u0000',
  '\\ud800',
  '"id":1',
  '"id":-1',
  '"id":99999999999999999999',
  '{"return":{}}\n',
  '{"error":{}}\n',
  '{"event":"X","data":7}\n',
  '{"__proto__":{"return":1}}\n',
  '{"return":{"toString":1,"constructor":null},"id":2}\n',
  '1e999',
  'null',
  '{"QMP":{}}\n',
]
  .map((text) => Buffer.from(text))
  .concat([
    Buffer.from([0xff]),
    Buffer.from([0xc0, 0x80]),
    Buffer.from([0xff, 0x0a]),
    Buffer.alloc(70_000, '['),
    Buffer.alloc(70_000, 'a'),
  ]);

function mutate(valid: Buffer, random: (bound: number) => number): Buffer {
  let bytes = Buffer.from(valid);
  for (let left = 1 + random(6); left > 0; left--) {
    const at = random(bytes.length + 1);
    switch (random(6)) {
      case 0:
        if (bytes.length > 0) bytes[at % bytes.length] = random(256);
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random(20))]);
        break;
      case 2:
        bytes = Buffer.concat([
          bytes.subarray(0, at),
          SPICE[random(SPICE.length)] ?? Buffer.alloc(0),
          bytes.subarray(at),
        ]);
        break;
      case 3:
        bytes = bytes.subarray(0, at);
        break;
      case 4:
        bytes = Buffer.concat([bytes, bytes.subarray(at)]);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(at), bytes.subarray(0, at)]);
    }
  }
  return bytes;
}

/** Writes in pieces of hostile sizes, sometimes byte by byte, and sometimes hangs up. */
async function pour(stream: Duplex, bytes: Buffer, random: (bound: number) => number): Promise<void> {
  const isSlow = random(10) === 0 && bytes.length < 2000;
  for (let at = 0; at < bytes.length && !stream.destroyed; ) {
    const length = isSlow ? 1 : 1 + random(bytes.length);
    stream.write(bytes.subarray(at, at + length));
    at += length;
    if (random(3) === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  if (random(2) === 0) stream.end();
}

/** The work ends, with a value or with an HvError; anything else is a defect. */
async function endsWell(seed: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`stream ${seed} hangs`)), 20_000);
  });
  try {
    await Promise.race([work, hang]);
  } catch (error) {
    if (!(error instanceof HvError)) throw new Error(`stream ${seed} ends in ${String(error)}`, { cause: error });
    if (error.code === 'internal') throw new Error(`stream ${seed} finds a defect: ${error.message}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
}

async function inBatches(count: number, firstSeed: number, one: (seed: number) => Promise<void>): Promise<void> {
  for (let seed = firstSeed; seed < firstSeed + count; seed += 50) {
    const batch = Array.from({ length: Math.min(50, firstSeed + count - seed) }, (_, offset) => seed + offset);
    await Promise.all(batch.map((each) => one(each)));
  }
}

interface AgentQuestion {
  ask(client: GuestAgentClient): Promise<unknown>;
  readonly reply: unknown;
  readonly isRaw?: boolean;
}

const SOON = { timeoutMs: 30 };
const PING: AgentQuestion = { ask: (client) => client.ping(SOON), reply: {} };
/** What is asked of a guest's agent, each with an honest answer. */
const AGENT_QUESTIONS: readonly AgentQuestion[] = [
  PING,
  {
    ask: (client) => client.networkInterfaces(SOON),
    reply: [
      {
        name: 'eth0',
        'hardware-address': '00:15:5d:00:00:01',
        'ip-addresses': [{ 'ip-address': '10.0.0.2', 'ip-address-type': 'ipv4', prefix: 24 }],
      },
    ],
  },
  { ask: (client) => client.info(SOON), reply: { version: '7', supported_commands: [{ name: 'x', enabled: true }] } },
  { ask: (client) => client.osInfo(SOON), reply: { id: 'debian', 'pretty-name': 'Debian 12' } },
  { ask: (client) => client.hostName(SOON), reply: { 'host-name': 'web1' } },
  { ask: (client) => client.time(SOON), reply: 1.7e18 },
  { ask: (client) => client.timeZone(SOON), reply: { zone: 'CET', offset: 3600 } },
  { ask: (client) => client.users(SOON), reply: [{ user: 'root', 'login-time': 1.7e9 }] },
  {
    ask: (client) => client.filesystems(SOON),
    reply: [{ name: 'sda1', mountpoint: '/', type: 'ext4', disk: [], 'used-bytes': 1, 'total-bytes': 2 }],
  },
  { ask: (client) => client.setTime(1, SOON), reply: {} },
  {
    ask: (client) => client.exec('/bin/true', [], SOON),
    reply: { pid: 1, exited: true, 'out-data': 'YWJj' },
    isRaw: true,
  },
  { ask: (client) => client.fileRead('/x', SOON), reply: 7, isRaw: true },
];

/** A garbage collection would make the bound sharper; without one, rss after thousands of streams still shows a leak. */
const MAX_GROWTH_BYTES = 300 * 2 ** 20;

describe('hostile byte streams', () => {
  it('give objects or protocol failures from the framing, whole and through a channel (2,000 streams)', async () => {
    const valid = Buffer.from('{"a":[1,2,{"b":"c\\n"}]}\r\n{"é":"\\ud83d\\ude00","n":-1.5e3}\n{"deep":[[[[[]]]]]}\n');
    const before = process.memoryUsage().rss;
    await inBatches(2000, 0, async (seed) => {
      const random = randomOf(seed);
      const bytes = mutate(valid, random);
      const whole: unknown[] = [];
      let wholeFailure: unknown;
      try {
        new JsonLineDecoder({ maxLineBytes: 50_000 }).push(bytes, (value) => whole.push(value));
      } catch (error) {
        expect(error).toMatchObject({ code: 'protocol' });
        wholeFailure = error;
      }
      const [ours, theirs] = streamPair();
      const channel = new JsonLineChannel(ours, { maxLineBytes: 50_000, maxQueuedObjects: 1 + random(4) });
      const pieces: unknown[] = [];
      const read = (async () => {
        for await (const value of channel) pieces.push(value);
      })();
      const outcome = endsWell(seed, read);
      await pour(theirs, bytes, random);
      theirs.end();
      await outcome;
      await channel.closed;
      // However the stream is cut, the same objects come out of it.
      expect(pieces).toEqual(whole);
      if (wholeFailure !== undefined) expect(channel.failure).toMatchObject({ code: 'protocol' });
    });
    expect(process.memoryUsage().rss - before).toBeLessThan(MAX_GROWTH_BYTES);
  });

  it('end QMP in an answer or an HvError (1,500 streams)', async () => {
    const greeting =
      '{"QMP":{"version":{"qemu":{"micro":22,"minor":2,"major":7},"package":""},"capabilities":["oob"]}}\r\n';
    const answers =
      '{"return":{},"id":1}\r\n{"timestamp":{"seconds":1,"microseconds":2},"event":"STOP"}\r\n' +
      '{"return":{"status":"running","running":true},"id":2}\r\n{"id":3,"error":{"class":"GenericError","desc":"no"}}\r\n' +
      '{"event":"RTC_CHANGE","data":{"offset":1},"timestamp":{"seconds":1,"microseconds":2}}\r\n' +
      '{"return":{"status":"active","ram":{"transferred":1,"total":2,"remaining":1}},"id":4}\r\n';
    const before = process.memoryUsage().rss;
    let connected = 0;
    await inBatches(1500, 10_000, async (seed) => {
      const random = randomOf(seed);
      const [ours, theirs] = streamPair();
      theirs.resume();
      theirs.on('error', () => {}); // hv may cut the connection at any time
      const isGreetingWhole = random(4) > 0;
      const bytes = isGreetingWhole
        ? Buffer.concat([Buffer.from(greeting), mutate(Buffer.from(answers), random)])
        : mutate(Buffer.from(greeting + answers), random);
      const talk = (async () => {
        await using client = await QmpClient.over(ours, { greetingTimeoutMs: 100, maxLineBytes: 50_000 });
        connected++;
        client.onEvent(() => {});
        const events = client.events();
        const event = client.waitForEvent('STOP', undefined, { timeoutMs: 30 });
        const asked = [
          queryStatus(client, { timeoutMs: 30 }),
          client.execute('stop', {}, { timeoutMs: 30 }),
          queryMigrate(client, { timeoutMs: 30 }),
        ];
        for (const outcome of await Promise.allSettled([...asked, event])) {
          if (outcome.status === 'rejected') expect(outcome.reason).toBeInstanceOf(HvError);
        }
        await client.close();
        for await (const _event of events) expect(_event.name).toBeTypeOf('string');
      })();
      const outcome = endsWell(seed, talk);
      // Answers to commands that were not sent yet would be a fault at once: give the client its time.
      const lines = bytes.indexOf(0x0a) + 1;
      await pour(theirs, bytes.subarray(0, lines), () => 1);
      for (let at = lines; at < bytes.length; ) {
        const end = bytes.indexOf(0x0a, at) + 1 || bytes.length;
        await new Promise((resolve) => setImmediate(resolve));
        if (!theirs.destroyed && !theirs.writableEnded) theirs.write(bytes.subarray(at, end));
        at = end;
      }
      await outcome;
      theirs.destroy();
    });
    expect(connected).toBeGreaterThan(300);
    expect(process.memoryUsage().rss - before).toBeLessThan(MAX_GROWTH_BYTES);
  });

  it('end the guest agent in an answer or an HvError (1,500 streams)', async () => {
    const before = process.memoryUsage().rss;
    let answered = 0;
    await inBatches(1500, 20_000, async (seed) => {
      const random = randomOf(seed);
      const [ours, theirs] = streamPair();
      theirs.on('error', () => {}); // hv may cut the connection at any time
      const isSyncWhole = random(4) > 0;
      const asked = AGENT_QUESTIONS[random(AGENT_QUESTIONS.length)] ?? PING;
      theirs.on('data', (chunk: Buffer) => {
        const id = /"id":(\d+)/.exec(chunk.toString('latin1'))?.[1];
        const sync = Buffer.concat([Buffer.from([0xff]), Buffer.from(`{"return": ${id}}\n`)]);
        const reply = Buffer.from(`${JSON.stringify({ return: asked.reply })}\n`);
        const answer = id
          ? isSyncWhole
            ? sync
            : mutate(sync, random)
          : random(3) === 0
            ? reply
            : mutate(reply, random);
        void pour(theirs, answer, random);
      });
      const talk = (async () => {
        await using client = new GuestAgentClient(ours, { maxReplyBytes: 50_000 });
        for (let call = 0; call < 2; call++) {
          try {
            const text = JSON.stringify(await asked.ask(client));
            // Bytes of a file or a program are the guest's own; everything else can be shown.
            if (!asked.isRaw) expect(text ?? '').not.toMatch(/\\u00[01][0-9a-f]|[\u007f-\u009f]/);
            answered++;
          } catch (error) {
            if (!(error instanceof HvError)) throw error;
          }
        }
      })();
      await endsWell(seed, talk);
      theirs.destroy();
    });
    // Not all of it failed: how many answers arrive in time depends on the machine.
    expect(answered).toBeGreaterThan(100);
    expect(process.memoryUsage().rss - before).toBeLessThan(MAX_GROWTH_BYTES);
  });
});

describe('a QEMU that its guest has taken over', () => {
  const greeting = '{"QMP":{"version":{"qemu":{"micro":0,"minor":0,"major":9}},"capabilities":[]}}\n';

  async function connectTo(afterwards: (stream: Duplex) => void, onEvent?: QmpListener): Promise<QmpClient> {
    const [ours, theirs] = streamPair();
    theirs.on('error', () => {}); // hv cuts the connection
    theirs.once('data', () => {
      theirs.write('{"return":{},"id":1}\n');
      afterwards(theirs);
    });
    theirs.write(greeting);
    return await QmpClient.over(ours, { onEvent });
  }

  it('cannot fill the memory with events that nobody takes: the connection ends', async () => {
    const client = await connectTo((stream) => {
      stream.resume();
      for (let count = 0; count < 3000; count++) stream.write('{"event":"DEVICE_DELETED","data":{"device":"d"}}\n');
    });
    const events = client.events();
    await client.closed;
    expect(client.failure).toMatchObject({ code: 'protocol', detail: { maxEvents: 1024 } });
    let taken = 0;
    for await (const event of events) taken += event.name === 'DEVICE_DELETED' ? 1 : 0;
    expect(taken).toBe(1024);
  });

  it('is heard from its first event on by a listener that was there before the negotiation', async () => {
    const seen: string[] = [];
    const client = await connectTo(
      (stream) => stream.resume().write('{"event":"SHUTDOWN"}\n'),
      (event) => seen.push(event.name),
    );
    client.onEvent(() => seen.push('too late for this one'));
    await new Promise((resolve) => setTimeout(resolve, 10));
    await client.close();
    expect(seen[0]).toBe('SHUTDOWN');
  });

  it('loses only events of which the latest matters', async () => {
    const client = await connectTo((stream) => {
      stream.resume();
      setTimeout(() => {
        stream.write('{"event":"SHUTDOWN","data":{}}\n');
        for (let count = 0; count < 5000; count++) stream.write(`{"event":"RTC_CHANGE","data":{"offset":${count}}}\n`);
        stream.end('{"event":"STOP"}\n');
      }, 10);
    });
    const events = client.events();
    await client.closed;
    expect(client.failure).toBeUndefined();
    const taken: string[] = [];
    let lastOffset: unknown;
    for await (const event of events) {
      taken.push(event.name);
      lastOffset = event.data.offset ?? lastOffset;
    }
    expect(taken.length).toBe(1024);
    expect([taken[0], taken.at(-1), lastOffset]).toEqual(['SHUTDOWN', 'STOP', 4999]);
  });

  it.each([
    ['an answer to a command that was never sent', '{"return":{},"id":1000}\n'],
    ['an answer without an id', '{"return":{}}\n'],
    ['a second greeting', greeting],
    ['an event whose data is text', '{"event":"STOP","data":"x"}\n'],
    ['an unknown message', '{"hello":1}\n'],
  ])('ends the connection with %s', async (_what, line) => {
    const client = await connectTo((stream) => stream.resume().write(line));
    const waiting = client.execute('query-status');
    await expect(waiting).rejects.toMatchObject({ code: 'protocol' });
    await client.closed;
    expect(client.failure).toMatchObject({ code: 'protocol' });
  });

  it('does not reach a terminal with the text of its refusal', async () => {
    const client = await connectTo((stream) =>
      stream.on('data', () => {
        stream.write('{"id":2,"error":{"class":"\\u001b[31mX","desc":"\\u001b]0;owned\\u0007no\\u202e\\r\\nway"}}\n');
      }),
    );
    await expect(client.execute('stop')).rejects.toMatchObject({
      code: 'process-failed',
      message: 'QEMU refused stop: no way',
      detail: { class: 'X', command: 'stop' },
    });
    await client.close();
  });

  it('is cut off by a listener that fails, and says so', async () => {
    const client = await connectTo((stream) => {
      stream.resume();
      setTimeout(() => stream.write('{"event":"STOP"}\n'), 10);
    });
    client.onEvent(() => {
      throw new TypeError('a defect');
    });
    await client.closed;
    expect(client.failure).toMatchObject({ code: 'internal', cause: expect.any(TypeError) });
  });
});
