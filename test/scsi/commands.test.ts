import { describe, expect, it } from 'vitest';
import { BLOCKS, hugeInitiator, ID, initiator, rangeCdb, senseOf } from './target.ts';

const READS = [0x08, 0x28, 0xa8, 0x88];
const WRITES = [0x0a, 0x2a, 0xaa, 0x8a];
const WRITE_AND_VERIFY = [0x2e, 0xae, 0x8e];
const VERIFIES = [0x2f, 0xaf, 0x8f];
const SYNCHRONIZE = [0x35, 0x91];
const WRITE_SAMES = [0x41, 0x93];
const name = (opcode: number): string => `0x${opcode.toString(16).padStart(2, '0')}`;

const pattern = (blocks: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: blocks * 512 }, (_, at) => (at * 7 + (at >> 9)) & 0xff));

describe('what a disk says of itself', () => {
  it('is a Hyper-V disk in its standard inquiry data, cut to the buffer of whoever asks', async () => {
    const { send } = initiator();
    const { dataIn, status } = await send('12 00 00 00 60 00');
    expect(status).toBe(0);
    expect(dataIn.length).toBe(96);
    expect(Buffer.from(dataIn).toString('latin1', 8, 32)).toBe('Msft    Virtual Disk    ');
    expect([dataIn[0], dataIn[1], dataIn[3], dataIn[4]]).toEqual([0, 0, 2, 91]);
    expect((await send('12 00 00 00 05 00')).dataIn).toEqual(dataIn.subarray(0, 5));
    expect((await send('12 00 00 00 00 00')).dataIn.length).toBe(0);
    expect(senseOf(await send('12 00 80 00 60 00'))).toBe('5/24/00');
    expect(senseOf(await send('12 02 00 00 60 00'))).toBe('5/24/00');
  });

  it('lists its vital product data pages and has each that it lists, and no other', async () => {
    for (const isThin of [true, false]) {
      const { send } = initiator({ isThin });
      const listed = [...(await send('12 01 00 00 ff 00')).dataIn.subarray(4)];
      expect(listed).toEqual([0x00, 0x80, 0x83, 0xb0, 0xb1, ...(isThin ? [0xb2] : [])]);
      for (let page = 0; page < 256; page++) {
        const result = await send(`12 01 ${page.toString(16).padStart(2, '0')} 01 00 00`);
        if (!listed.includes(page)) expect(senseOf(result)).toBe('5/24/00');
        else {
          expect(result.dataIn[1]).toBe(page);
          expect(Buffer.from(result.dataIn).readUInt16BE(2)).toBe(result.dataIn.length - 4);
        }
      }
    }
  });

  it('names its serial number and its 16-byte name after its id', async () => {
    const { send } = initiator();
    expect(Buffer.from((await send('12 01 80 00 ff 00')).dataIn.subarray(4)).toString()).toBe(ID.toString('hex'));
    const names = Buffer.from((await send('12 01 83 00 ff 00')).dataIn);
    expect(names.toString('hex')).toContain('01030010600224800011223344556677');
  });

  it('tells its size, its sectors and that it is thin', async () => {
    const { send } = initiator();
    expect(Buffer.from((await send('25 00 00000000 0000 00 00')).dataIn).toString('hex')).toBe('0001ffff00000200');
    const long = Buffer.from((await send('9e10 0000000000000000 00000020 0000')).dataIn);
    expect(long.length).toBe(32);
    expect(long.toString('hex', 0, 16)).toBe('000000000001ffff000002000003c000');
    const thick = initiator({ isThin: false });
    expect((await thick.send('9e10 0000000000000000 00000020 0000')).dataIn[14]).toBe(0);
    expect(senseOf(await send('25 00 00000001 0000 00 00'))).toBe('5/24/00');
  });

  it('tells a size beyond 2 TiB with all ones in the short form and exactly in the long one', async () => {
    const { send } = hugeInitiator(64 * 2 ** 40);
    expect(Buffer.from((await send('25 00 00000000 0000 00 00')).dataIn).readUInt32BE(0)).toBe(0xffff_ffff);
    const long = Buffer.from((await send('9e10 0000000000000000 00000020 0000')).dataIn);
    expect(long.readBigUInt64BE(0)).toBe(2n ** 37n - 1n);
  });

  it('reports LUN 0 alone', async () => {
    const { send } = initiator();
    expect(Buffer.from((await send('a0 00 00 000000 00000010 00 00')).dataIn).toString('hex')).toBe(
      '00000008'.padEnd(32, '0'),
    );
    expect((await send('a0 00 01 000000 00000010 00 00')).dataIn.length).toBe(8);
    expect(senseOf(await send('a0 00 03 000000 00000010 00 00'))).toBe('5/24/00');
    expect(senseOf(await send('a0 00 00 000000 0000000f 00 00'))).toBe('5/24/00');
  });
});

describe('moving data', () => {
  for (const [index, writeCode] of WRITES.entries()) {
    const readCode = READS[index] ?? 0;
    it(`${name(writeCode)} writes what ${name(readCode)} reads`, async () => {
      const { send, device } = initiator();
      const data = pattern(3);
      expect(senseOf(await send(rangeCdb(writeCode, 5, 3), data))).toBeUndefined();
      expect(device.bytes.subarray(5 * 512, 8 * 512)).toEqual(data);
      expect(Buffer.from((await send(rangeCdb(readCode, 5, 3))).dataIn)).toEqual(data);
    });
  }

  for (const code of [...READS, ...WRITES, ...WRITE_AND_VERIFY, ...VERIFIES]) {
    const isOut = !READS.includes(code) && !VERIFIES.includes(code);
    it(`${name(code)} reaches the last block and not the one behind it`, async () => {
      // The oldest CDBs have 21 bits for the block.
      const blocks = 4096;
      const { send, device } = initiator({ sizeBytes: blocks * 512 });
      const data = isOut ? pattern(1) : undefined;
      expect(senseOf(await send(rangeCdb(code, blocks - 1, 1), data))).toBeUndefined();
      for (const [lba, count] of [
        [blocks, 1],
        [blocks - 1, 2],
        [blocks - 3, 200],
      ] as const) {
        const before = device.writes.length;
        const result = await send(rangeCdb(code, lba, count), isOut ? pattern(200) : undefined);
        expect(senseOf(result)).toBe('5/21/00');
        expect(result.sense?.information).toBe(blocks);
        expect(device.writes.length).toBe(before);
      }
    });
  }

  it('moves 256 blocks with 0 in the oldest CDBs, and nothing with 0 in the others', async () => {
    const { send } = initiator();
    expect((await send(rangeCdb(0x08, 0, 0))).dataIn.length).toBe(256 * 512);
    expect(senseOf(await send(rangeCdb(0x0a, 0, 0), pattern(256)))).toBeUndefined();
    for (const code of [0x28, 0xa8, 0x88]) expect((await send(rangeCdb(code, 0, 0))).dataIn.length).toBe(0);
    for (const code of [0x28, 0xa8, 0x88]) expect(senseOf(await send(rangeCdb(code, BLOCKS, 0)))).toBe('5/21/00');
  });

  it('refuses more than its limit, with the place of the field', async () => {
    const { send } = initiator();
    const limit = Buffer.from((await send('12 01 b0 00 ff 00')).dataIn).readUInt32BE(8);
    expect((await send(rangeCdb(0x88, 0, limit))).dataIn.length).toBe(limit * 512);
    for (const [code, byte] of [
      [0x88, 10],
      [0xa8, 6],
      [0x8f, 10],
    ] as const) {
      const result = await send(rangeCdb(code, 0, limit + 1));
      expect(senseOf(result)).toBe('5/24/00');
      expect(result.sense?.field).toEqual({ isInCdb: true, byte });
    }
  });

  it('refuses protection information, of which it keeps none', async () => {
    const { send } = initiator();
    for (const code of [...READS, ...WRITES, ...WRITE_AND_VERIFY, ...VERIFIES, ...WRITE_SAMES].filter(
      (code) => code > 0x20,
    )) {
      for (const protect of [0x20, 0x80, 0xe0]) {
        expect(senseOf(await send(rangeCdb(code, 0, 1, protect), pattern(1)))).toBe('5/24/00');
      }
    }
  });

  it('flushes with FUA, and with WRITE AND VERIFY, and not otherwise', async () => {
    const { send, device } = initiator();
    for (const code of [0x2a, 0xaa, 0x8a]) await send(rangeCdb(code, 0, 1), pattern(1));
    expect(device.flushes).toBe(0);
    for (const code of [0x2a, 0xaa, 0x8a]) await send(rangeCdb(code, 0, 1, 0x08), pattern(1));
    expect(device.flushes).toBe(3);
    for (const code of WRITE_AND_VERIFY) await send(rangeCdb(code, 0, 1, 0x02), pattern(1));
    expect(device.flushes).toBe(6);
  });

  it('says when less data came than the command speaks of', async () => {
    const { send, device } = initiator();
    for (const code of [...WRITES, ...WRITE_AND_VERIFY]) {
      expect(senseOf(await send(rangeCdb(code, 0, 2), pattern(1)))).toBe('b/4b/00');
    }
    expect(device.writes).toEqual([]);
  });

  it('verifies with and without data, block by block, and tells where they differ', async () => {
    const { send, device } = initiator();
    device.write(0, pattern(4), 0, 2048);
    const wrong = pattern(4);
    wrong[1300] = (wrong[1300] ?? 0) ^ 1;
    for (const code of VERIFIES) {
      expect(senseOf(await send(rangeCdb(code, 0, 4)))).toBeUndefined();
      expect(senseOf(await send(rangeCdb(code, 0, 4, 0x02), pattern(4)))).toBeUndefined();
      const differs = await send(rangeCdb(code, 0, 4, 0x02), wrong);
      expect(senseOf(differs)).toBe('e/1d/00');
      expect(differs.sense?.information).toBe(1300);
      expect(senseOf(await send(rangeCdb(code, 0, 4, 0x04), pattern(4)))).toBe('5/24/00');
      expect(senseOf(await send(rangeCdb(code, 100, 4, 0x06), Buffer.alloc(512)))).toBeUndefined();
      expect(senseOf(await send(rangeCdb(code, 0, 4, 0x06), Buffer.alloc(512)))).toBe('e/1d/00');
    }
  });

  it('synchronizes its cache, whatever range is named', async () => {
    const { send, device } = initiator();
    for (const code of SYNCHRONIZE) {
      expect(senseOf(await send(rangeCdb(code, 0, 0)))).toBeUndefined();
      expect(senseOf(await send(rangeCdb(code, 7, 9, 0x02)))).toBeUndefined();
      expect(senseOf(await send(rangeCdb(code, BLOCKS, 1)))).toBe('5/21/00');
    }
    expect(device.flushes).toBe(4);
  });
});

describe('giving space back', () => {
  const unmapList = (...ranges: (readonly [lba: number, count: number])[]): Buffer => {
    const list = Buffer.alloc(8 + ranges.length * 16);
    list.writeUInt16BE(list.length - 2, 0);
    list.writeUInt16BE(list.length - 8, 2);
    for (const [index, [lba, count]] of ranges.entries()) {
      list.writeBigUInt64BE(BigInt(lba), 8 + index * 16);
      list.writeUInt32BE(count, 16 + index * 16);
    }
    return list;
  };
  const unmapCdb = (length: number, flags = 0): string =>
    `42${flags.toString(16).padStart(2, '0')}0000000000${length.toString(16).padStart(4, '0')}00`;
  const filled = (): ReturnType<typeof initiator> => {
    const made = initiator();
    made.device.write(0, Buffer.alloc(1024 * 1024, 0xaa), 0, 1024 * 1024);
    return made;
  };
  const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

  it('unmaps every range of the list', async () => {
    const { send, device } = filled();
    const list = unmapList([0, 8], [64, 16], [100, 0]);
    expect(senseOf(await send(unmapCdb(list.length), list))).toBeUndefined();
    expect(isZero(device.bytes.subarray(0, 4096))).toBe(true);
    expect(isZero(device.bytes.subarray(64 * 512, 80 * 512))).toBe(true);
    expect(device.bytes[4096]).toBe(0xaa);
  });

  it('checks all of the list before the first range counts', async () => {
    const { send, device } = filled();
    const list = unmapList([0, 8], [BLOCKS, 1]);
    expect(senseOf(await send(unmapCdb(list.length), list))).toBe('5/21/00');
    expect(device.bytes[0]).toBe(0xaa);
    expect(senseOf(await send(unmapCdb(7), list))).toBe('5/1a/00');
    expect(senseOf(await send(unmapCdb(24), list))).toBe('5/1a/00');
    expect(senseOf(await send(unmapCdb(list.length, 1), list))).toBe('5/24/00');
    expect(senseOf(await send(unmapCdb(0)))).toBeUndefined();
    const many = unmapList(...Array.from({ length: 257 }, (_, index) => [index, 1] as const));
    expect(senseOf(await send(unmapCdb(many.length), many))).toBe('5/26/00');
  });

  it('does not know UNMAP where nothing can be given back', async () => {
    const { send } = initiator({ isThin: false });
    const list = unmapList([0, 8]);
    expect(senseOf(await send(unmapCdb(list.length), list))).toBe('5/20/00');
    expect(senseOf(await send(rangeCdb(0x93, 0, 8, 0x08), Buffer.alloc(512)))).toBe('5/24/00');
  });

  for (const code of WRITE_SAMES) {
    it(`${name(code)} repeats a block, writes zeros, and unmaps`, async () => {
      const { send, device } = filled();
      const block = pattern(1);
      expect(senseOf(await send(rangeCdb(code, 2, 5000), block))).toBeUndefined();
      for (const lba of [2, 77, 5001]) expect(device.bytes.subarray(lba * 512, lba * 512 + 512)).toEqual(block);
      expect(isZero(device.bytes.subarray(5002 * 512, 5003 * 512))).toBe(true);
      expect(senseOf(await send(rangeCdb(code, 8, 8, 0x08), Buffer.alloc(512)))).toBeUndefined();
      expect(isZero(device.bytes.subarray(8 * 512, 16 * 512))).toBe(true);
      expect([...device.extents(8 * 512, 8 * 512)].map(({ kind }) => kind)).toEqual(['hole']);
      expect(senseOf(await send(rangeCdb(code, 16, 8), Buffer.alloc(512)))).toBeUndefined();
      expect([...device.extents(16 * 512, 8 * 512)].map(({ kind }) => kind)).toEqual(['data']);
      // Not zeros, though it may unmap: what is read afterwards is what came.
      expect(senseOf(await send(rangeCdb(code, 8, 8, 0x08), block))).toBeUndefined();
      expect(device.bytes.subarray(8 * 512, 9 * 512)).toEqual(block);
      expect(senseOf(await send(rangeCdb(code, 0, 1, 0x10), block))).toBe('5/24/00');
      expect(senseOf(await send(rangeCdb(code, 0, 1, 0x02), block))).toBe('5/24/00');
      expect(senseOf(await send(rangeCdb(code, BLOCKS - 1, 2), block))).toBe('5/21/00');
      // None is named: to the end.
      expect(senseOf(await send(rangeCdb(code, BLOCKS - 3, 0), block))).toBeUndefined();
      expect(device.bytes.subarray((BLOCKS - 1) * 512)).toEqual(block);
    });
  }

  it('WRITE SAME(16) needs no data with NDOB; WRITE SAME(10) has no such bit', async () => {
    const { send, device } = filled();
    expect(senseOf(await send(rangeCdb(0x93, 0, 8, 0x01)))).toBeUndefined();
    expect(isZero(device.bytes.subarray(0, 4096))).toBe(true);
    expect(senseOf(await send(rangeCdb(0x93, 8, 8, 0x09)))).toBeUndefined();
    expect([...device.extents(4096, 4096)].map(({ kind }) => kind)).toEqual(['hole']);
    expect(senseOf(await send(rangeCdb(0x41, 0, 8, 0x01), Buffer.alloc(512)))).toBe('5/24/00');
    expect(senseOf(await send(rangeCdb(0x93, 0, 8)))).toBe('b/4b/00');
    expect(senseOf(await hugeInitiator(2 ** 45).send(rangeCdb(0x93, 0, 2 ** 21 + 1, 0x01)))).toBe('5/24/00');
  });

  it('GET LBA STATUS tells mapped from deallocated, as much as the buffer takes', async () => {
    const { send, device } = initiator();
    device.write(8 * 512, pattern(8), 0, 4096);
    const ask = async (lba: number, allocation: number): Promise<[number, number, number][]> => {
      const { dataIn } = await send(rangeCdb(0x9e, lba, allocation, 0x12));
      const data = Buffer.from(dataIn);
      expect(data.length).toBeLessThanOrEqual(allocation);
      const count = (Math.min(data.readUInt32BE(0) + 4, data.length) - 8) / 16;
      return Array.from({ length: count }, (_, index) => {
        const at = 8 + index * 16;
        return [Number(data.readBigUInt64BE(at)), data.readUInt32BE(at + 8), data[at + 12] ?? -1];
      });
    };
    expect(await ask(0, 1024)).toEqual([
      [0, 8, 1],
      [8, 8, 0],
      [16, BLOCKS - 16, 1],
    ]);
    expect(await ask(10, 40)).toEqual([
      [10, 6, 0],
      [16, BLOCKS - 16, 1],
    ]);
    expect(await ask(BLOCKS - 1, 24)).toEqual([[BLOCKS - 1, 1, 1]]);
    expect(senseOf(await send(rangeCdb(0x9e, BLOCKS, 24, 0x12)))).toBe('5/21/00');
    const huge = await hugeInitiator(64 * 2 ** 40).send(rangeCdb(0x9e, 0, 1000, 0x12));
    // 2^37 blocks, in pieces that four bytes can count.
    expect(huge.dataIn.length).toBe(8 + 16 * 33);
  });
});

describe('modes', () => {
  it('tells its pages, alone and together, current, changeable and default', async () => {
    const { send } = initiator();
    const short = Buffer.from((await send('1a 00 3f 00 ff 00')).dataIn);
    expect(short.length).toBe(4 + 8 + 12 + 20 + 12);
    expect(short[0]).toBe(short.length - 1);
    expect([short[2], short[3]]).toEqual([0x10, 8]);
    const long = Buffer.from((await send('5a 00 3f 00 000000 00ff 00')).dataIn);
    expect(long.readUInt16BE(0)).toBe(long.length - 2);
    expect(long.subarray(8)).toEqual(short.subarray(4));
    const caching = Buffer.from((await send('1a 08 08 00 ff 00')).dataIn);
    expect(caching.subarray(4, 7).toString('hex')).toBe('081204');
    expect(Buffer.from((await send('1a 08 48 00 ff 00')).dataIn)[6]).toBe(0);
    expect(Buffer.from((await send('1a 08 88 00 ff 00')).dataIn)).toEqual(caching);
    expect(senseOf(await send('1a 08 c8 00 ff 00'))).toBe('5/39/00');
    const wide = Buffer.from((await send('5a 10 08 00 000000 00ff 00')).dataIn);
    expect([wide[4], wide.readUInt16BE(6), Number(wide.readBigUInt64BE(8))]).toEqual([1, 16, BLOCKS]);
  });

  it('has no other page', async () => {
    const { send } = initiator();
    for (let page = 0; page < 0x3f; page++) {
      const expected = [0x01, 0x08, 0x0a].includes(page) ? undefined : '5/24/00';
      expect(senseOf(await send(`1a 00 ${page.toString(16).padStart(2, '0')} 00 ff 00`))).toBe(expected);
    }
    expect(senseOf(await send('1a 00 08 01 ff 00'))).toBe('5/24/00');
    expect(senseOf(await send('1a 00 08 ff ff 00'))).toBeUndefined();
  });

  it('takes back what it told, and refuses every change', async () => {
    const { send } = initiator();
    const short = Buffer.from((await send('1a 00 3f 00 ff 00')).dataIn);
    const sent = Buffer.from(short);
    sent[0] = 0;
    expect(senseOf(await send(`15 10 0000 ${sent.length.toString(16).padStart(2, '0')} 00`, sent))).toBeUndefined();
    for (const at of [5, 11, 12, 13, 14, 26, 46, 55]) {
      const changed = Buffer.from(sent);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      expect(senseOf(await send(`15 10 0000 ${sent.length.toString(16)} 00`, changed))).toBe('5/26/00');
    }
    expect(senseOf(await send('15 10 0000 0e 00', sent))).toBe('5/1a/00');
    expect(senseOf(await send('15 11 0000 0c 00', sent))).toBe('5/24/00');
    expect(senseOf(await send('15 00 0000 0c 00', sent))).toBe('5/24/00');
    expect(senseOf(await send('15 10 0000 00 00'))).toBeUndefined();
    const long = Buffer.from((await send('5a 00 3f 00 000000 00ff 00')).dataIn);
    expect(
      senseOf(await send(`55 10 0000000000 ${long.length.toString(16).padStart(4, '0')} 00`, long)),
    ).toBeUndefined();
  });
});

describe('states', () => {
  it('a write-protected disk says so and refuses every command that writes', async () => {
    const { send, device } = initiator({ readOnly: true });
    expect((await send('1a 08 08 00 ff 00')).dataIn[2]).toBe(0x90);
    for (const code of [...WRITES, ...WRITE_AND_VERIFY, ...WRITE_SAMES]) {
      expect(senseOf(await send(rangeCdb(code, 0, 1), pattern(1)))).toBe('7/27/00');
    }
    expect(senseOf(await send('42 00 0000000000 0018 00', Buffer.alloc(24)))).toBe('7/27/00');
    expect((await send(rangeCdb(0x28, 0, 1))).dataIn.length).toBe(512);
    for (const code of SYNCHRONIZE) expect(senseOf(await send(rangeCdb(code, 0, 0)))).toBeUndefined();
    expect(device.writes).toEqual([]);
  });

  it('a stopped unit is not ready until it is started again', async () => {
    const { send, device } = initiator();
    expect(senseOf(await send('1b 00 00 00 00 00'))).toBeUndefined();
    expect(device.flushes).toBe(1);
    for (const cdb of [
      '000000000000',
      rangeCdb(0x28, 0, 1),
      rangeCdb(0x2a, 0, 1),
      rangeCdb(0x35, 0, 0),
      '25000000000000000000',
    ]) {
      expect(senseOf(await send(cdb, pattern(1)))).toBe('2/04/02');
    }
    expect(senseOf(await send('12 00 00 00 60 00'))).toBeUndefined();
    expect((await send('03 00 00 00 12 00')).dataIn[2]).toBe(0x02);
    expect(senseOf(await send('1b 00 00 00 01 00'))).toBeUndefined();
    expect(senseOf(await send('000000000000'))).toBeUndefined();
    expect(senseOf(await send('1b 00 00 00 02 00'))).toBe('5/24/00');
    expect(senseOf(await send('1b 00 00 00 10 00'))).toBe('5/24/00');
    expect(senseOf(await send('1b 00 00 00 04 00'))).toBeUndefined();
    expect(device.flushes).toBe(1);
  });

  it('has no sense data left over, and nothing to lock in', async () => {
    const { send } = initiator();
    expect(Buffer.from((await send('03 00 00 00 ff 00')).dataIn).toString('hex')).toBe(
      `70000000${'00'.repeat(3)}0a${'00'.repeat(10)}`,
    );
    expect(Buffer.from((await send('03 01 00 00 ff 00')).dataIn).toString('hex')).toBe('7200000000000000');
    expect(senseOf(await send('1e 00 00 00 01 00'))).toBeUndefined();
  });
});
