import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { streamPair } from '../../test/qmp/stream-pair.ts';
import { HvError } from '../errors/index.ts';
import { encodeJsonLine, JsonLineChannel, JsonLineDecoder, type JsonObject } from './json-lines.ts';

function decodeAll(bytes: Uint8Array, cuts: readonly number[] = [], limits = {}): JsonObject[] {
  const decoder = new JsonLineDecoder(limits);
  const values: JsonObject[] = [];
  let at = 0;
  for (const cut of [...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
    decoder.push(bytes.subarray(at, Math.max(at, cut)), (value) => values.push(value));
    at = Math.max(at, cut);
  }
  return values;
}

const protocolFailure = expect.objectContaining({ code: 'protocol' });

describe('JsonLineDecoder', () => {
  it('gives back every object, however the stream is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ maxDepth: 3 })), { maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (values, cuts) => {
          const bytes = Buffer.concat(values.map((value) => encodeJsonLine(value)));
          expect(decodeAll(bytes, cuts)).toEqual(values.map((value) => JSON.parse(JSON.stringify(value)) as unknown));
        },
      ),
      { numRuns: 300 },
    );
  });

  it('passes over empty lines and takes carriage returns', () => {
    expect(decodeAll(Buffer.from('\r\n{"a":1}\r\n\n  \n{"b":2}\n'))).toEqual([{ a: 1 }, { b: 2 }]);
  });

  it.each([
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d, 0x0a])],
    ['an overlong encoding', Buffer.from([0x7b, 0x22, 0xc0, 0x80, 0x22, 0x7d, 0x0a])],
    ['text that is not JSON', Buffer.from('hello\n')],
    ['a byte order mark', Buffer.from('\ufeff{}\n')],
    ['an array', Buffer.from('[]\n')],
    ['null', Buffer.from('null\n')],
    ['a number', Buffer.from('1\n')],
    ['half an object', Buffer.from('{"a":\n')],
  ])('refuses %s', (_what, bytes) => {
    expect(() => decodeAll(bytes)).toThrow(protocolFailure);
  });

  it('takes a line of exactly the limit and refuses one byte more, before its end has come', () => {
    const line = Buffer.from(`{"a":"${'x'.repeat(92)}"}`);
    expect(line.length).toBe(100);
    expect(decodeAll(Buffer.concat([line, Buffer.from('\n')]), [50], { maxLineBytes: 100 })).toHaveLength(1);
    expect(() => decodeAll(Buffer.concat([line, Buffer.from(' ')]), [50], { maxLineBytes: 100 })).toThrow(
      protocolFailure,
    );
  });

  it('refuses what nests too deep or holds too many values, but not brackets inside text', () => {
    const nested = (depth: number): Buffer => Buffer.from(`{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}\n`);
    expect(decodeAll(nested(128))).toHaveLength(1);
    expect(() => decodeAll(nested(129))).toThrow(protocolFailure);
    expect(() => decodeAll(Buffer.from(`{"a":${'['.repeat(1e6)}\n`))).toThrow(protocolFailure);
    expect(() => decodeAll(Buffer.from(`{"a":[${'{},'.repeat(1e6)}{}]}\n`))).toThrow(protocolFailure);
    expect(decodeAll(Buffer.from(`{"a":"\\"${'['.repeat(1000)}"}\n`))).toHaveLength(1);
  });

  it('stays failed until it is reset', () => {
    const decoder = new JsonLineDecoder();
    const seen: JsonObject[] = [];
    expect(() => decoder.push(Buffer.from('x\n{"a":1}\n'), (value) => seen.push(value))).toThrow(HvError);
    expect(() => decoder.push(Buffer.from('{"a":1}\n'), (value) => seen.push(value))).toThrow(HvError);
    decoder.reset();
    decoder.push(Buffer.from('{"a":2}\n'), (value) => seen.push(value));
    expect(seen).toEqual([{ a: 2 }]);
  });

  it('takes a long line byte by byte without a copy for each', () => {
    const decoder = new JsonLineDecoder();
    const seen: JsonObject[] = [];
    const line = encodeJsonLine({ text: 'y'.repeat(300_000) });
    for (let at = 0; at < line.length; at++) decoder.push(line.subarray(at, at + 1), (value) => seen.push(value));
    expect(seen).toHaveLength(1);
    expect(decoder.pendingBytes).toBe(0);
  });
});

describe('JsonLineChannel', () => {
  it('carries objects both ways, in order, and ends when the peer does', async () => {
    const [a, b] = streamPair();
    await using left = new JsonLineChannel(a);
    const right = new JsonLineChannel(b);
    for (let number = 0; number < 1000; number++) await right.send({ number });
    await left.send({ hello: 'right' });
    await expect(right.receive()).resolves.toEqual({ hello: 'right' });
    const closing = right.close();
    let expected = 0;
    for await (const value of left) expect(value).toEqual({ number: expected++ });
    expect(expected).toBe(1000);
    await closing;
    await expect(left.receive()).resolves.toBeUndefined();
    await left.closed;
    await expect(left.send({})).rejects.toMatchObject({ code: 'io' });
    expect(left.failure).toBeUndefined();
  });

  it('reads no further than its queue when nobody takes, and goes on when somebody does', async () => {
    const [a, b] = streamPair();
    await using channel = new JsonLineChannel(a, { maxQueuedObjects: 10 });
    let sent = 0;
    let isBlocked = false;
    const line = encodeJsonLine({ filler: 'z'.repeat(2000) });
    while (!isBlocked && sent < 5000) {
      isBlocked = !b.write(line);
      sent++;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(isBlocked).toBe(true);
    expect(channel.queuedObjects).toBeLessThan(100);
    for (let taken = 0; taken < sent; taken++) await channel.receive();
    expect(channel.queuedObjects).toBe(0);
    b.destroy();
  });

  it('fails the waiting and the next call with what the peer did, and cuts it off', async () => {
    const [a, b] = streamPair();
    const channel = new JsonLineChannel(a, { peer: 'the test' });
    const waiting = channel.receive();
    b.write('not json\n');
    await expect(waiting).rejects.toMatchObject({ code: 'protocol', message: expect.stringContaining('the test') });
    await channel.closed;
    await expect(channel.receive()).rejects.toMatchObject({ code: 'protocol' });
    await expect(channel.send({})).rejects.toMatchObject({ code: 'protocol' });
    b.destroy();
  });

  it('gives what came before the fault, then the fault', async () => {
    const [a, b] = streamPair();
    const channel = new JsonLineChannel(a);
    b.write('{"a":1}\n{"a":2}\n{"half":');
    b.end();
    await expect(channel.receive()).resolves.toEqual({ a: 1 });
    await expect(channel.receive()).resolves.toEqual({ a: 2 });
    await expect(channel.receive()).rejects.toMatchObject({ code: 'protocol', detail: { pendingBytes: 8 } });
  });

  it('loses nothing when a wait is aborted', async () => {
    const [a, b] = streamPair();
    await using channel = new JsonLineChannel(a);
    const abort = new AbortController();
    const waiting = channel.receive({ signal: abort.signal });
    abort.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    b.write('{"a":1}\n');
    await expect(channel.receive()).resolves.toEqual({ a: 1 });
    b.destroy();
  });

  it('cuts off a peer that reads nothing', async () => {
    const [a, b] = streamPair();
    const channel = new JsonLineChannel(a, { maxUnsentBytes: 200_000 });
    const sends = Array.from({ length: 40 }, () => channel.send({ filler: 'q'.repeat(10_000) }));
    const outcomes = await Promise.allSettled(sends);
    expect(outcomes.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'protocol' } });
    expect(channel.failure?.code).toBe('protocol');
    b.destroy();
  });
});
