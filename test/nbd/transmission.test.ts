import { describe, expect, it } from 'vitest';
import { deferred } from '../../src/async/index.ts';
import { HvError } from '../../src/errors/index.ts';
import { ChunkType, Command, CommandFlag, NbdErrno } from '../../src/protocols/nbd/wire.ts';
import { encodeRequest, TestClient } from './client.ts';
import { MemoryDevice } from './memory-device.ts';
import { Served } from './served.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 64 * MIB;

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  for (let at = 0; at < length; at++) bytes[at] = (at * 31 + seed * 7 + (at >> 9)) & 0xff;
  return bytes;
}

describe('nbd transmission', () => {
  it.each([true, false])(
    'reads back what was written at any size and alignment (structured replies: %s)',
    async (structured) => {
      const device = new MemoryDevice(SIZE_BYTES);
      await using served = await Served.start(device);
      const client = await TestClient.connect(served.socketPath, { structured });
      let offset = 0;
      for (const length of [1, 511, 512, 4096, 65_536, 65_537, 131_072, 131_073, 1_000_003, 8 * MIB]) {
        const payload = pattern(length, length);
        expect((await client.write(offset, payload)).error).toBe(0);
        const reply = await client.read(offset, length);
        expect(reply.error).toBe(0);
        expect(reply.data.equals(payload)).toBe(true);
        offset += length + 3;
      }
      await client.disconnect();
    },
  );

  it('hands an aligned write to the device in whole sectors however the bytes arrive', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device);
    const client = await TestClient.connect(served.socketPath);
    const payload = pattern(3 * MIB, 5);
    const done = client.request(Command.write, 0, MIB, payload.length);
    for (let at = 0; at < payload.length; at += 77_777) {
      client.socket.write(payload.subarray(at, at + 77_777));
      await new Promise(setImmediate);
    }
    expect((await done).error).toBe(0);
    expect(device.writes.every(({ offset, length }) => offset % 512 === 0 && length % 512 === 0)).toBe(true);
    expect(device.bytes.subarray(MIB, 4 * MIB).equals(payload)).toBe(true);
    await client.disconnect();
  });

  it('answers zeros as holes and mixes them with data in one long read', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device);
    const client = await TestClient.connect(served.socketPath);
    const payload = pattern(300_000, 9);
    await client.write(2 * MIB, payload);
    const small = await client.read(0, 4096);
    expect(small.chunkTypes).toEqual([ChunkType.offsetHole]);
    const reply = await client.read(0, 16 * MIB);
    expect(reply.chunkTypes).toContain(ChunkType.offsetHole);
    expect(reply.chunkTypes).toContain(ChunkType.offsetData);
    expect(reply.data.equals(device.bytes.subarray(0, 16 * MIB))).toBe(true);
    const whole = await client.read(2 * MIB - 1000, 65_536, CommandFlag.df);
    expect(whole.chunkTypes).toEqual([ChunkType.offsetData]);
    expect(whole.data.equals(device.bytes.subarray(2 * MIB - 1000, 2 * MIB - 1000 + 65_536))).toBe(true);
    expect((await client.read(0, 16 * MIB, CommandFlag.df)).error).toBe(NbdErrno.eoverflow);
    await client.disconnect();
  });

  it('zeroes, trims and reports the allocation that the device has', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device);
    const client = await TestClient.connect(served.socketPath);
    await client.write(0, pattern(64 * 1024, 1));
    expect((await client.request(Command.trim, 0, 4096, 8192)).error).toBe(0);
    expect((await client.request(Command.writeZeroes, 0, 20_480, 4096)).error).toBe(0);
    expect((await client.request(Command.writeZeroes, CommandFlag.noHole, 28_672, 4096)).error).toBe(0);
    const status = await client.request(Command.blockStatus, 0, 0, MIB);
    expect(status.extents).toEqual([
      { length: 4096, flags: 0 },
      { length: 8192, flags: 3 },
      { length: 8192, flags: 0 },
      { length: 4096, flags: 3 },
      { length: 40_960, flags: 0 },
      { length: MIB - 65_536, flags: 3 },
    ]);
    const one = await client.request(Command.blockStatus, CommandFlag.reqOne, 6000, 50_000);
    expect(one.extents).toEqual([{ length: 6288, flags: 3 }]);
    expect((await client.read(20_480, 16_384)).data.equals(device.bytes.subarray(20_480, 36_864))).toBe(true);
    await client.disconnect();
  });

  it('zeroes the whole disk in slices while another connection is served', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    device.bytes.fill(7);
    await using served = await Served.start(device);
    const [first, second] = await Promise.all([
      TestClient.connect(served.socketPath),
      TestClient.connect(served.socketPath),
    ]);
    const order: string[] = [];
    const zeroing = first
      .request(Command.writeZeroes, CommandFlag.noHole, 0, SIZE_BYTES)
      .then((reply) => order.push(`zeroed ${reply.error}`));
    const reading = second.read(SIZE_BYTES - 512, 512).then(() => order.push('read'));
    await Promise.all([zeroing, reading]);
    expect(order).toEqual(['read', 'zeroed 0']);
    expect(device.bytes.every((byte) => byte === 0)).toBe(true);
    await Promise.all([first.disconnect(), second.disconnect()]);
  });

  it('refuses with the errors that the specification names', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES));
    await using readOnly = await Served.start(new MemoryDevice(SIZE_BYTES, { readOnly: true }));
    const client = await TestClient.connect(served.socketPath);
    const { einval, enospc, eperm, enotsup } = NbdErrno;
    const cases: [number, number, number, number, number][] = [
      [Command.read, 0, SIZE_BYTES - 511, 512, einval],
      [Command.read, 0, 0, 32 * MIB + 1, einval],
      [Command.read, CommandFlag.noHole, 0, 512, einval],
      [Command.trim, 0, SIZE_BYTES, 1, einval],
      [Command.writeZeroes, 0, SIZE_BYTES - 1, 2, enospc],
      [Command.writeZeroes, CommandFlag.noHole | CommandFlag.fastZero, 0, 512, enotsup],
      [Command.blockStatus, 0, 0, 0, einval],
      [Command.blockStatus, 0, 0, SIZE_BYTES + 1, einval],
      [Command.flush, CommandFlag.reqOne, 0, 0, einval],
      [99, 0, 0, 0, einval],
    ];
    for (const [command, flags, offset, length, expected] of cases) {
      expect((await client.request(command, flags, offset, length)).error, `${command} ${flags}`).toBe(expected);
    }
    expect((await client.request(Command.read, 0, 2 ** 53 - 1, 4096)).error).toBe(einval);
    expect((await client.write(SIZE_BYTES - 100, Buffer.alloc(200))).error).toBe(enospc);
    expect((await client.write(0, Buffer.alloc(512), CommandFlag.df)).error).toBe(einval);

    const reader = await TestClient.connect(readOnly.socketPath);
    expect((await reader.write(0, pattern(100_000, 1))).error).toBe(eperm);
    expect((await reader.request(Command.trim, 0, 0, 512)).error).toBe(eperm);
    expect((await reader.request(Command.writeZeroes, 0, 0, 512)).error).toBe(eperm);
    expect((await reader.request(Command.flush, 0, 0, 0)).error).toBe(0);
    expect((await reader.read(0, 512)).error).toBe(0);
    await Promise.all([client.disconnect(), reader.disconnect()]);
  });

  it('reports failures of the device and goes on', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    device.bytes.fill(1);
    device.writeZeroes(0, 512, false);
    device.write(0, Buffer.alloc(MIB, 3), 0, MIB);
    await using served = await Served.start(device);
    for (const structured of [true, false]) {
      const client = await TestClient.connect(served.socketPath, { structured });
      device.failure = { kind: 'read', error: new HvError('corrupt', 'bad block') };
      expect((await client.read(0, 4096)).error).toBe(NbdErrno.eio);
      expect((await client.read(0, MIB)).error).toBe(NbdErrno.eio);
      device.failure = { kind: 'write', error: new HvError('no-space', 'full') };
      expect((await client.write(0, pattern(500_000, 2))).error).toBe(NbdErrno.enospc);
      expect((await client.request(Command.writeZeroes, 0, 0, 4096)).error).toBe(NbdErrno.enospc);
      device.failure = { kind: 'flush', error: new Error('unknown') };
      expect((await client.request(Command.flush, 0, 0, 0)).error).toBe(NbdErrno.eio);
      expect((await client.write(0, pattern(512, 2), CommandFlag.fua)).error).toBe(NbdErrno.eio);
      device.failure = undefined;
      expect((await client.read(0, 4096)).error).toBe(0);
      await client.disconnect();
    }
    expect(served.export.stats.errors).toBe(12);
  });

  it('answers other requests while a flush runs, and a flush only covers what came before it began', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device);
    const [first, second] = await Promise.all([
      TestClient.connect(served.socketPath),
      TestClient.connect(served.socketPath),
    ]);
    const gate = deferred<void>();
    device.flushGate = gate.promise;
    const flushes = [first.request(Command.flush, 0, 0, 0)];
    await first.write(0, pattern(4096, 1));
    // These come while the first one runs: they share one later flush, which covers the write.
    flushes.push(second.request(Command.flush, 0, 0, 0), first.write(4096, pattern(512, 3), CommandFlag.fua));
    expect((await second.read(0, 4096)).error).toBe(0);
    expect(device.flushes).toBe(0);
    gate.resolve();
    expect((await Promise.all(flushes)).map(({ error }) => error)).toEqual([0, 0, 0]);
    expect(device.flushes).toBe(2);
    await Promise.all([first.disconnect(), second.disconnect()]);
  });

  it.each([true, false])(
    'answers reads that wait for slow storage, with others between (structured replies: %s)',
    async (structured) => {
      const device = new MemoryDevice(SIZE_BYTES);
      device.write(0, pattern(8 * MIB, 3), 0, 8 * MIB);
      await using served = await Served.start(device);
      const client = await TestClient.connect(served.socketPath, { structured });
      device.readDelayMs = 0.5;
      for (let round = 0; round < 5; round++) {
        const requests = [
          client.request(Command.flush, 0, 0, 0),
          client.read(round * 1000, 5 * MIB + round),
          client.write(10 * MIB, pattern(4096, round), CommandFlag.fua),
          client.read(0, 4096),
          client.read(100_000, 100_000),
          client.request(Command.cache, 0, 0, 3 * MIB),
          client.request(Command.flush, 0, 0, 0),
          client.read(MIB, 200_000),
        ];
        const replies = await Promise.all(requests);
        expect(replies.map(({ error }) => error)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
        expect(replies[1]?.data.equals(device.bytes.subarray(round * 1000, round * 1001 + 5 * MIB))).toBe(true);
        expect(replies[4]?.data.equals(device.bytes.subarray(100_000, 200_000))).toBe(true);
        expect(replies[7]?.data.equals(device.bytes.subarray(MIB, MIB + 200_000))).toBe(true);
      }
      expect(served.export.stats.coldReads).toBeGreaterThan(10);
      await client.disconnect();
    },
  );

  it('hangs up when a long read in simple form fails after its beginning was sent, and fails it else', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    device.write(0, pattern(8 * MIB, 3), 0, 8 * MIB);
    const read = device.read.bind(device);
    let failsAt = 3 * MIB;
    device.read = (offset, target, start, length) => {
      if (offset + length > failsAt) throw new HvError('io', 'bad sector');
      read(offset, target, start, length);
    };
    await using served = await Served.start(device);
    const simple = await TestClient.connect(served.socketPath, { structured: false });
    const structured = await TestClient.connect(served.socketPath);
    expect((await structured.read(0, 8 * MIB)).error).toBe(NbdErrno.eio);
    expect((await structured.read(0, MIB)).error).toBe(0);
    await expect(simple.read(0, 8 * MIB)).rejects.toThrow('the connection ended');
    failsAt = 0;
    const again = await TestClient.connect(served.socketPath, { structured: false });
    expect((await again.read(0, 8 * MIB)).error).toBe(NbdErrno.eio);
    expect((await again.request(Command.flush, 0, 0, 0)).error).toBe(0);
    await Promise.all([again.disconnect(), structured.disconnect()]);
  });

  it('answers what it was asked before a disconnect that follows at once', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device);
    const client = await TestClient.connect(served.socketPath);
    const replies = [client.read(0, 4096), client.request(Command.flush, 0, 0, 0), client.read(0, MIB)];
    await client.disconnect();
    expect((await Promise.all(replies)).map(({ error }) => error)).toEqual([0, 0, 0]);
  });

  it('keeps little for a peer that asks for much and reads nothing', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    device.bytes.fill(1);
    device.write(0, device.bytes, 0, SIZE_BYTES);
    await using served = await Served.start(device);
    const greedy = await TestClient.connect(served.socketPath);
    greedy.socket.pause();
    const before = process.memoryUsage();
    for (let cookie = 1; cookie <= 2000; cookie++) {
      greedy.socket.write(encodeRequest(Command.read, 0, cookie, 0, 32 * MIB));
    }
    const polite = await TestClient.connect(served.socketPath);
    for (let turn = 0; turn < 50; turn++) expect((await polite.read(0, 4096)).error).toBe(0);
    const after = process.memoryUsage();
    expect(after.rss - before.rss).toBeLessThan(100 * MIB);
    greedy.kill();
    await polite.disconnect();
  });

  it('ends only the connection of a peer that sends rubbish or an endless write', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device);
    const good = await TestClient.connect(served.socketPath);
    const rubbish = await TestClient.connect(served.socketPath);
    rubbish.socket.write(Buffer.alloc(28, 0x41));
    await rubbish.closed;
    const endless = await TestClient.connect(served.socketPath);
    endless.socket.write(encodeRequest(Command.write, 0, 1, 0, 0xffffffff));
    await endless.closed;
    const killed = await TestClient.connect(served.socketPath);
    killed.socket.write(encodeRequest(Command.write, 0, 1, 0, MIB));
    killed.socket.write(Buffer.alloc(70_000, 1));
    killed.kill();
    await killed.closed;
    expect((await good.write(0, pattern(4096, 4))).error).toBe(0);
    expect((await good.read(0, 4096)).data.equals(pattern(4096, 4))).toBe(true);
    await good.disconnect();
    await expect.poll(() => served.export.stats.connections, { timeout: 10_000 }).toBe(0);
  });

  it('holds requests back while the device is exchanged, then answers them', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device);
    const client = await TestClient.connect(served.socketPath);
    const gate = deferred<void>();
    const order: string[] = [];
    const change = served.export.exclusively(async () => {
      await gate.promise;
      order.push('changed');
    });
    const reading = client.read(0, MIB).then(() => order.push('read'));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(order).toEqual([]);
    gate.resolve();
    await Promise.all([change, reading]);
    expect(order).toEqual(['changed', 'read']);
    await client.disconnect();
  });

  it('ends the connections of an export that is removed, after the requests in progress', async () => {
    const device = new MemoryDevice(SIZE_BYTES);
    await using served = await Served.start(device, { name: 'gone' });
    const client = await TestClient.connect(served.socketPath, { name: 'gone' });
    const gate = deferred<void>();
    device.flushGate = gate.promise;
    const flush = client.request(Command.flush, 0, 0, 0);
    await expect.poll(() => served.export.stats.requests, { timeout: 10_000 }).toBe(1);
    const removed = served.server.removeExport('gone');
    expect((await client.read(0, 512)).error).toBe(NbdErrno.eshutdown);
    gate.resolve();
    expect((await flush).error).toBe(0);
    await Promise.all([client.closed, removed]);
  });
});
