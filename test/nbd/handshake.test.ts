import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { InfoType, Option, OptionReply, TransmissionFlag } from '../../src/protocols/nbd/wire.ts';
import { encodeOption, goData, metaContextData, TestClient } from './client.ts';
import { MemoryDevice } from './memory-device.ts';
import { Served } from './served.ts';

const SIZE_BYTES = 1024 * 1024;

describe('nbd negotiation', () => {
  it('serves a client that knows only EXPORT_NAME, with and without the 124 zeros', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES), { name: 'disk' });
    for (const [clientFlags, answerLength] of [
      [1, 134],
      [3, 10],
    ] as const) {
      const client = await TestClient.open(served.socketPath, clientFlags);
      client.sendOption(Option.exportName, Buffer.from('disk'));
      const answer = await client.take(answerLength);
      expect(answer.readBigUInt64BE(0)).toBe(BigInt(SIZE_BYTES));
      expect(answer.readUInt16BE(8) & TransmissionFlag.hasFlags).toBe(1);
      expect(answer.subarray(10).every((byte) => byte === 0)).toBe(true);
      client.enterTransmission(false);
      expect((await client.read(0, 512)).error).toBe(0);
      await client.disconnect();
    }
  });

  it('hangs up on an EXPORT_NAME that does not exist', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES), { name: 'disk' });
    const client = await TestClient.open(served.socketPath);
    client.sendOption(Option.exportName, Buffer.from('other'));
    await client.closed;
  });

  it('answers INFO and GO with size, flags, block sizes and the name when asked', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES), { name: 'disk' });
    const client = await TestClient.open(served.socketPath);
    for (const option of [Option.info, Option.go]) {
      const answers = await client.option(option, goData('disk', [InfoType.name, InfoType.blockSize]));
      expect(answers.map(({ type }) => type)).toEqual([
        OptionReply.info,
        OptionReply.info,
        OptionReply.info,
        OptionReply.ack,
      ]);
      const byType = new Map(answers.slice(0, -1).map(({ data }) => [data.readUInt16BE(0), data]));
      expect(byType.get(InfoType.export)?.readBigUInt64BE(2)).toBe(BigInt(SIZE_BYTES));
      expect(byType.get(InfoType.blockSize)?.readUInt32BE(6)).toBe(4096);
      expect(byType.get(InfoType.blockSize)?.readUInt32BE(10)).toBe(32 * 1024 * 1024);
      expect(byType.get(InfoType.name)?.toString('utf8', 2)).toBe('disk');
    }
    client.enterTransmission(false);
    await client.disconnect();
  });

  it('says read-only in the flags of a read-only device, and multi-connection always', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES, { readOnly: true }));
    const client = await TestClient.open(served.socketPath);
    const answers = await client.option(Option.info, goData(''));
    const flags = answers[0]?.data.readUInt16BE(10) ?? 0;
    expect(flags & TransmissionFlag.readOnly).not.toBe(0);
    expect(flags & TransmissionFlag.canMultiConn).not.toBe(0);
    client.kill();
  });

  it('lists its exports, serves the only one as the default, and knows no other name', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES), { name: 'Größe "1"' });
    const client = await TestClient.open(served.socketPath);
    const listed = await client.option(Option.list, Buffer.alloc(0));
    expect(listed[0]?.data.toString('utf8', 4)).toBe('Größe "1"');
    expect((await client.option(Option.list, Buffer.alloc(1))).at(-1)?.type).toBe(OptionReply.errInvalid);
    expect((await client.option(Option.info, goData(''))).at(-1)?.type).toBe(OptionReply.ack);
    expect((await client.option(Option.info, goData('nope'))).at(-1)?.type).toBe(OptionReply.errUnknown);
    served.server.addExport('second', new MemoryDevice(512));
    expect((await client.option(Option.info, goData(''))).at(-1)?.type).toBe(OptionReply.errUnknown);
    client.kill();
  });

  it('refuses TLS and unknown options by name and goes on', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES));
    const client = await TestClient.open(served.socketPath);
    for (const option of [Option.starttls, 4, 11, 4711]) {
      expect(await client.option(option, Buffer.alloc(3))).toEqual([
        { type: OptionReply.errUnsupported, data: Buffer.alloc(0) },
      ]);
    }
    expect((await client.option(Option.abort, Buffer.alloc(0)))[0]?.type).toBe(OptionReply.ack);
    await client.closed;
  });

  it('selects base:allocation only after structured replies, only for the export that was named', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES), { name: 'a' });
    served.server.addExport('b', new MemoryDevice(SIZE_BYTES));
    const client = await TestClient.open(served.socketPath);
    const query = metaContextData('a', ['base:allocation']);
    expect((await client.option(Option.setMetaContext, query)).at(-1)?.type).toBe(OptionReply.errInvalid);
    expect(
      (await client.option(Option.listMetaContext, metaContextData('a', []))).map(({ data }) =>
        data.toString('latin1', 4),
      ),
    ).toEqual(['base:allocation', '']);
    await client.expectAck(Option.structuredReply, Buffer.alloc(0));
    expect((await client.option(Option.setMetaContext, metaContextData('a', ['qemu:x']))).length).toBe(1);
    expect((await client.option(Option.setMetaContext, query)).length).toBe(2);
    await client.expectAck(Option.go, goData('b'));
    client.enterTransmission(true);
    expect((await client.request(7, 0, 0, 4096)).error).toBe(22);
    await client.disconnect();
  });

  it('refuses malformed option data without losing its place', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES));
    const client = await TestClient.open(served.socketPath);
    const hugeName = Buffer.alloc(6);
    hugeName.writeUInt32BE(0xffffffff, 0);
    const tooManyQueries = Buffer.alloc(8);
    tooManyQueries.writeUInt32BE(0xffffffff, 4);
    const cases: [number, Buffer, number][] = [
      [Option.go, Buffer.alloc(0), OptionReply.errInvalid],
      [Option.go, hugeName, OptionReply.errInvalid],
      [Option.info, Buffer.from([0, 0, 0, 2, 0xff, 0xfe, 0, 0]), OptionReply.errInvalid],
      [Option.listMetaContext, tooManyQueries, OptionReply.errInvalid],
      [Option.structuredReply, Buffer.alloc(1), OptionReply.errInvalid],
      [Option.info, Buffer.alloc(500_000), OptionReply.errTooBig],
    ];
    for (const [option, data, expected] of cases) {
      expect((await client.option(option, data)).at(-1)?.type).toBe(expected);
    }
    await client.expectAck(Option.go, goData(''));
    client.kill();
  });

  it('hangs up on unknown client flags, a wrong magic, and an option of absurd length', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES));
    await (await TestClient.open(served.socketPath, 0x80)).closed;
    const wrongMagic = await TestClient.open(served.socketPath);
    wrongMagic.socket.write(Buffer.alloc(16, 1));
    await wrongMagic.closed;
    const absurd = await TestClient.open(served.socketPath);
    const header = encodeOption(Option.info, Buffer.alloc(0));
    header.writeUInt32BE(0xffffffff, 12);
    absurd.socket.write(header);
    await absurd.closed;
  });

  it('understands options that arrive byte by byte', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES));
    const client = await TestClient.open(served.socketPath);
    const bytes = Buffer.concat([encodeOption(Option.list, Buffer.alloc(0)), encodeOption(Option.go, goData(''))]);
    for (const byte of bytes) {
      client.socket.write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    const header = await client.take(20);
    expect(header.readUInt32BE(12)).toBe(OptionReply.server);
    client.kill();
  });

  it('ends a negotiation that takes too long', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES), { handshakeTimeoutMs: 50 });
    const startedAt = performance.now();
    await (await TestClient.open(served.socketPath)).closed;
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  it('survives a peer that hangs up at once', async () => {
    await using served = await Served.start(new MemoryDevice(SIZE_BYTES));
    for (let index = 0; index < 20; index++) {
      await new Promise<void>((resolve) => {
        const socket = connect(served.socketPath, () => socket.destroy());
        socket.on('close', () => resolve());
      });
    }
    const client = await TestClient.connect(served.socketPath);
    expect((await client.read(0, 512)).error).toBe(0);
    await client.disconnect();
  });
});
