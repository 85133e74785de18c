import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectSocket, hasFfi } from '../../system/index.ts';
import { DirectTransport } from './direct-transport.ts';
import { FastLane } from './fast-lane.ts';
import type { TransportListener } from './transport.ts';

const MIB = 1024 * 1024;

/** Bytes whose order shows: a counter of 32 bits. */
function counted(length: number, from = 0): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 4) bytes.writeUInt32LE(((from + at) / 4) >>> 0, at);
  return bytes;
}

class Recorder implements TransportListener {
  isWaiting = false;
  isSequential = true;
  received: Buffer[] = [];
  drains = 0;
  isClosed = false;
  onChunk: (chunk: Buffer) => void = () => {};

  onReceive(chunk: Buffer): void {
    this.received.push(Buffer.from(chunk));
    this.onChunk(chunk);
  }

  onDrain(): void {
    this.drains++;
  }

  onClose(): void {
    this.isClosed = true;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.received);
  }
}

async function until(isTrue: () => boolean): Promise<void> {
  const endsAt = Date.now() + 10_000;
  while (!isTrue()) {
    if (Date.now() > endsAt) throw new Error('it did not come about in 10 s');
    await new Promise(setImmediate);
  }
}

describe.skipIf(!hasFfi())('the direct transport (needs FFI)', () => {
  const lane = new FastLane();
  let folder = '';
  let server: Server;
  const peers: Socket[] = [];
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hv-direct-'));
    server = createServer();
    server.listen(join(folder, 's'));
    await once(server, 'listening');
  });
  afterEach(() => {
    for (const peer of peers.splice(0)) peer.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function connection(): Promise<{ transport: DirectTransport; listener: Recorder; peer: Socket }> {
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const peer = connect(join(folder, 's'));
    const [socket] = await accepted;
    peers.push(peer, socket);
    const direct = DirectSocket.of(socket);
    if (!direct) throw new Error('the accepted socket has no descriptor');
    const transport = new DirectTransport(socket, direct, lane);
    const listener = new Recorder();
    transport.listen(listener);
    return { transport, listener, peer };
  }

  it('keeps the order of what a peer sends, however often reading pauses', async () => {
    const { transport, listener, peer } = await connection();
    let chunks = 0;
    listener.onChunk = () => {
      if (++chunks % 3 !== 0) return;
      transport.pauseReading();
      setTimeout(() => transport.resumeReading(), chunks % 2);
    };
    const sent = counted(16 * MIB);
    // In uneven pieces with pauses, so that the stream and the lane take turns.
    for (let at = 0, size = 28; at < sent.length; at += size, size = ((size * 7) % 150_000) + 28) {
      if (!peer.write(sent.subarray(at, at + size))) await once(peer, 'drain');
      else if (size % 5 === 0) await new Promise(setImmediate);
    }
    await until(() => listener.received.reduce((sum, { length }) => sum + length, 0) >= sent.length);
    expect(listener.bytes.equals(sent)).toBe(true);
  });

  it('receives nothing past what the stream has read already', async () => {
    const { transport, listener, peer } = await connection();
    const sent = counted(512 * 1024);
    listener.onChunk = () => transport.pauseReading();
    peer.write(sent.subarray(0, 28));
    await until(() => listener.received.length === 1);
    // A paused stream reads on until its buffer is full; what comes after that waits in the kernel.
    peer.write(sent.subarray(28));
    await new Promise((resolve) => setTimeout(resolve, 50));
    listener.onChunk = () => {};
    transport.resumeReading();
    expect(transport.serve()).toBe(false);
    await until(() => listener.received.reduce((sum, { length }) => sum + length, 0) >= sent.length);
    expect(listener.bytes.equals(sent)).toBe(true);
  });

  it('queues what the kernel does not take, in order, and says when it is gone', async () => {
    const { transport, listener, peer } = await connection();
    peer.pause();
    const big = counted(8 * MIB);
    expect(transport.send(big)).toBe(false);
    expect(transport.pendingBytes()).toBeGreaterThan(0);
    const small = counted(4096, big.length);
    expect(transport.send(small)).toBe(false);
    const received: Buffer[] = [];
    peer.on('data', (chunk: Buffer) => received.push(chunk));
    peer.resume();
    await until(() => received.reduce((sum, { length }) => sum + length, 0) >= big.length + small.length);
    expect(Buffer.concat(received).equals(Buffer.concat([big, small]))).toBe(true);
    await until(() => listener.drains > 0);
    expect(transport.pendingBytes()).toBe(0);
    expect(transport.send(small)).toBe(true);
  });

  it('answers several peers in turns, and one that does not read holds up nobody', async () => {
    const stuck = await connection();
    stuck.peer.pause();
    stuck.transport.send(Buffer.alloc(8 * MIB));
    const all = [await connection(), await connection(), await connection()];
    for (const { transport, listener } of all) listener.onChunk = (chunk) => transport.send(Buffer.from(chunk));
    await Promise.all(
      all.map(async ({ peer }, index) => {
        for (let turn = 0; turn < 300; turn++) {
          peer.write(Buffer.from([index, turn & 0xff]));
          const [echo] = (await once(peer, 'data')) as [Buffer];
          expect([...echo]).toEqual([index, turn & 0xff]);
        }
      }),
    );
    expect(stuck.transport.pendingBytes()).toBeGreaterThan(0);
  });

  it('hears of a peer that hangs up in the middle, and touches the descriptor no more', async () => {
    const { transport, listener, peer } = await connection();
    listener.onChunk = (chunk) => transport.send(Buffer.from(chunk));
    for (let turn = 0; turn < 50; turn++) {
      peer.write('x');
      await once(peer, 'data');
    }
    peer.destroy();
    await until(() => listener.isClosed);
    expect(transport.serve()).toBe(false);
    expect(transport.direct.descriptor).toBe(-1);
    expect(transport.direct.send(Buffer.from('x'))).toBe(0);
  });

  it('leaves timers and other work their turn while a peer never stops', async () => {
    const { transport, listener, peer } = await connection();
    listener.onChunk = (chunk) => transport.send(Buffer.from(chunk));
    let isOn = true;
    peer.on('data', () => {
      if (isOn) peer.write('x');
    });
    peer.write('x');
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setTimeout(resolve, 1));
    isOn = false;
    expect(listener.received.length).toBeGreaterThan(20);
  });
});
