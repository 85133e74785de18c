import { connect } from 'node:net';
import { expect } from 'vitest';
import { HvError } from '../../src/errors/index.ts';
import { Connection } from '../../src/protocols/nbd/connection.ts';
import type { Transport, TransportListener } from '../../src/protocols/nbd/transport.ts';
import { Command, Option } from '../../src/protocols/nbd/wire.ts';
import { encodeOption, encodeRequest, goData, metaContextData, TestClient } from './client.ts';
import { MemoryDevice } from './memory-device.ts';
import { Served } from './served.ts';

const SIZE_BYTES = 1024 * 1024;
/** Pending output, one buffer above it, and late replies: what a peer that reads nothing may cost. */
const MAX_HELD_BYTES = 16 * 1024 * 1024;
const MAX_INPUT_MS = 2000;
const INTERESTING = [0, 1, 2, 28, 511, 4095, 0x7fffffff, 0x80000000, 0xffffffff, SIZE_BYTES, SIZE_BYTES + 1, 32 << 20];

type Random = (below: number) => number;

/** mulberry32: the same seed gives the same inputs, so that a failure can be run again. */
function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** What a well-behaved client could send from its first byte to its last. */
function session(random: Random): Buffer {
  const parts: Buffer[] = [Buffer.from([0, 0, 0, random(4)])];
  for (let count = random(5); count > 0; count--) {
    switch (random(5)) {
      case 0:
        parts.push(encodeOption(Option.list, Buffer.alloc(0)));
        break;
      case 1:
        parts.push(encodeOption(Option.structuredReply, Buffer.alloc(0)));
        break;
      case 2:
        parts.push(encodeOption(Option.setMetaContext, metaContextData('', ['base:allocation'])));
        break;
      case 3:
        parts.push(encodeOption(Option.listMetaContext, metaContextData('', ['base:', 'other'])));
        break;
      default:
        parts.push(encodeOption(random(20), Buffer.alloc(random(40), random(256))));
    }
  }
  if (random(4) === 0) parts.push(encodeOption(Option.exportName, Buffer.alloc(0)));
  else parts.push(encodeOption(Option.go, goData('', [0, 3, random(5)])));
  for (let count = random(12); count > 0; count--) {
    const command = random(9);
    const length = random(3) === 0 ? random(200_000) : random(5000);
    const flags = random(3) === 0 ? random(32) : 0;
    parts.push(encodeRequest(command, flags, count, random(SIZE_BYTES), length));
    if (command === Command.write) parts.push(Buffer.alloc(length, count));
  }
  return Buffer.concat(parts);
}

function mutate(input: Buffer, random: Random): Buffer {
  let bytes = Buffer.from(input);
  for (let count = 1 + random(6); count > 0 && bytes.length > 4; count--) {
    // Most of what decides something lies near the beginning.
    const at = random(2) === 0 ? random(Math.min(bytes.length, 200)) : random(bytes.length);
    const span = bytes.subarray(at, at + 1 + random(40));
    switch (random(7)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        bytes[at] = random(256);
        break;
      case 2:
        if (at + 4 <= bytes.length) bytes.writeUInt32BE(INTERESTING[random(INTERESTING.length)] ?? 0, at);
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + span.length)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), span, bytes.subarray(at)]);
        break;
      case 5:
        bytes = bytes.subarray(0, at);
        break;
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.alloc(random(64), random(256)), bytes.subarray(at)]);
    }
  }
  return bytes;
}

/** A peer in memory; it may read everything, or nothing until the end. */
class FakeTransport implements Transport {
  readonly #readsReplies: boolean;
  #listener: TransportListener | undefined;
  #held = 0;
  #isPaused = false;
  isEnded = false;

  constructor(readsReplies: boolean) {
    this.#readsReplies = readsReplies;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
  }

  send(bytes: Uint8Array): boolean {
    if (this.#readsReplies) return true;
    this.#held += bytes.length;
    expect(this.#held).toBeLessThan(MAX_HELD_BYTES);
    return false;
  }

  pendingBytes(): number {
    return this.#held;
  }

  pauseReading(): void {
    this.#isPaused = true;
  }

  resumeReading(): void {
    this.#isPaused = false;
  }

  end(): void {
    this.destroy();
  }

  destroy(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.#listener?.onClose();
  }

  deliver(chunk: Buffer): void {
    if (!this.isEnded) this.#listener?.onReceive(chunk);
  }

  drain(): void {
    this.#held = 0;
    if (!this.isEnded) this.#listener?.onDrain();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function feed(served: Served, input: Buffer, random: Random, onFault: (error: unknown) => void): Promise<void> {
  const transport = new FakeTransport(random(4) !== 0);
  new Connection(transport, served.server, () => {}, { onFault });
  for (let at = 0; at < input.length && !transport.isEnded; ) {
    const end = at + 1 + random(random(2) === 0 ? 64 : 70_000);
    transport.deliver(input.subarray(at, end));
    at = end;
    for (let waits = 0; transport.isPaused && !transport.isEnded; waits++) {
      expect(waits).toBeLessThan(1000);
      transport.drain();
      await turn();
    }
  }
  if (random(2) === 0) await turn();
  transport.destroy();
}

function feedSocket(served: Served, input: Buffer): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(served.socketPath);
    socket.on('data', () => {});
    socket.on('error', () => {});
    socket.on('close', () => resolve());
    socket.end(input);
  });
}

/** A client that must be served whatever others do. */
async function checkGoodClient(client: TestClient, stamp: number): Promise<void> {
  const payload = Buffer.alloc(8192, stamp & 0xff);
  expect((await client.write(123 * 512, payload)).error).toBe(0);
  const reply = await client.read(123 * 512, 8192);
  expect(reply.error).toBe(0);
  expect(reply.data.equals(payload)).toBe(true);
}

/**
 * Feeds mutated sessions to a live server, most in memory and one of fifty over its socket.
 * Any exception that escapes, an input that takes long, or a good client that is not served, fails.
 */
export async function fuzzServer(inputs: number, seed: number): Promise<void> {
  const faults: unknown[] = [];
  const device = new MemoryDevice(SIZE_BYTES);
  await using served = await Served.start(device, {
    handshakeTimeoutMs: 5000,
    onFault: (error) => faults.push(error),
  });
  const good = await TestClient.connect(served.socketPath);
  for (let index = 0; index < inputs; index++) {
    const random = randomOf(seed + index);
    const input = mutate(session(random), random);
    const kind = (['read', 'write', 'flush'] as const)[random(40)];
    device.failure = kind && { kind, error: new HvError('io', 'told to fail') };
    const startedAt = performance.now();
    if (index % 50 === 0) await feedSocket(served, input);
    else await feed(served, input, random, (error) => faults.push(error));
    device.failure = undefined;
    const tookMs = performance.now() - startedAt;
    expect(tookMs, `input with seed ${seed + index} took ${tookMs} ms`).toBeLessThan(MAX_INPUT_MS);
    expect(faults, `input with seed ${seed + index}`).toEqual([]);
    if (index % 500 === 499) await checkGoodClient(good, index);
  }
  await checkGoodClient(good, inputs);
  await checkGoodClient(await TestClient.connect(served.socketPath), inputs + 1);
  await good.disconnect();
  expect(served.export.stats.requests).toBeGreaterThan(inputs / 2);
}
