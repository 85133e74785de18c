import { describe, expect, it } from 'vitest';
import { HvError, type HvErrorCode } from '../../src/errors/index.ts';
import { describeSense } from '../../src/protocols/scsi/index.ts';
import { BLOCKS, hugeInitiator, initiator, rangeCdb, senseOf } from './target.ts';

describe('sense data', () => {
  it('has the fixed form, with the field that is wrong', async () => {
    const { senseData, sense } = await initiator().send('12 02 00 00 60 00');
    expect(Buffer.from(senseData).toString('hex')).toBe('700005000000000a00000000240000c90001');
    expect(sense && describeSense(sense)).toBe('ILLEGAL REQUEST: invalid field in CDB (05/24/00), byte 1 bit 1');
  });

  it('has the descriptor form where that is asked for, and the control mode page says which', async () => {
    for (const [senseFormat, first, bit] of [
      ['fixed', 0xf0, 0],
      ['descriptor', 0x72, 0x04],
    ] as const) {
      const { send } = initiator({ senseFormat });
      expect((await send(rangeCdb(0x28, BLOCKS, 1))).senseData[0]).toBe(first);
      expect((await send('1a 08 0a 00 ff 00')).dataIn[6]).toBe(bit);
    }
    const { senseData } = await initiator({ senseFormat: 'descriptor' }).send(rangeCdb(0x28, BLOCKS + 5, 1));
    expect(Buffer.from(senseData).toString('hex')).toBe('720521000000000c000a8000 0000000000020005'.replace(' ', ''));
  });

  it('leaves out a block that four bytes do not hold in the fixed form', async () => {
    const { senseData, sense } = await hugeInitiator(2 ** 45).send(rangeCdb(0x88, 2 ** 37, 1));
    expect(senseData[0]).toBe(0x70);
    expect(sense?.information).toBe(2 ** 37);
  });

  it.each<[HvErrorCode, string, string]>([
    ['io', '3/11/00', '3/0c/00'],
    ['corrupt', '3/11/00', '3/0c/00'],
    ['no-space', '7/27/07', '7/27/07'],
    ['permission-denied', '7/27/00', '7/27/00'],
    ['internal', '4/44/00', '4/44/00'],
  ])('tells what fails in the disk: %s', async (code, onRead, onWrite) => {
    const { send, device } = initiator();
    device.failure = { kind: 'read', error: new HvError(code, 'broken') };
    const read = await send(rangeCdb(0x28, 9, 1));
    expect(senseOf(read)).toBe(onRead);
    if (code === 'io') expect(read.sense?.information).toBe(9);
    expect(senseOf(await send(rangeCdb(0x8f, 9, 1)))).toBe(onRead);
    device.failure = { kind: 'write', error: new HvError(code, 'broken') };
    for (const opcode of [0x2a, 0x8a, 0x41, 0x2e]) {
      expect(senseOf(await send(rangeCdb(opcode, 9, 1), Buffer.alloc(512, 1)))).toBe(onWrite);
    }
    device.failure = { kind: 'flush', error: new HvError(code, 'broken') };
    expect(senseOf(await send(rangeCdb(0x91, 9, 1)))).toBe(onWrite);
    expect(senseOf(await send(rangeCdb(0x2a, 9, 1, 0x08), Buffer.alloc(512, 1)))).toBe(onWrite);
  });

  it('tells a failure that is nobody’s plan as one of the target', async () => {
    const { send, device } = initiator();
    device.failure = { kind: 'read', error: new TypeError('a defect') };
    expect(senseOf(await send(rangeCdb(0x28, 0, 1)))).toBe('4/44/00');
  });
});

describe('what the disk does not know', () => {
  it('is every operation code that it does not list; service actions are fields', async () => {
    const { send } = initiator();
    const all = Buffer.from((await send('a3 0c 00 00 0000 00001000 00 00')).dataIn);
    const listed = new Set<number>();
    for (let at = 4; at < all.length; at += 8) listed.add(all.readUInt8(at));
    expect(listed.size).toBeGreaterThan(25);
    for (let opcode = 0; opcode < 256; opcode++) {
      const cdb = opcode.toString(16).padStart(2, '0').padEnd(32, '0');
      const answer = senseOf(await send(cdb));
      if (listed.has(opcode)) expect(answer).not.toBe('5/20/00');
      else expect(answer).toBe('5/20/00');
    }
    for (const [opcode, actions] of [
      [0x9e, [0x10, 0x12]],
      [0xa3, [0x0c]],
    ] as const) {
      for (let action = 0; action < 32; action++) {
        const answer = await send(`${opcode.toString(16)}${action.toString(16).padStart(2, '0')}`.padEnd(32, '0'));
        if (!(actions as readonly number[]).includes(action)) expect(senseOf(answer)).toBe('5/24/00');
      }
    }
  });

  it('reports one command with the bits that it looks at', async () => {
    const { send } = initiator();
    const one = async (options: string, opcode: string, action = '0000'): Promise<string> =>
      Buffer.from((await send(`a3 0c ${options} ${opcode} ${action} 00000100 00 00`)).dataIn).toString('hex');
    expect(await one('01', '28')).toBe('0003000a28f8ffffffff00ffff00');
    expect(await one('01', '7f')).toBe('00010000');
    expect(await one('02', '9e', '0012')).toBe('000300109e1fffffffffffffffffffffffff0000');
    expect(await one('02', '9e', '0013')).toBe('00010000');
    expect(await one('03', '28')).toBe(await one('01', '28'));
    expect(await one('81', '00')).toBe(`00830006000000000000000a${'00'.repeat(10)}`);
    expect(senseOf(await send('a3 0c 01 9e 0000 00000100 00 00'))).toBe('5/24/00');
    expect(senseOf(await send('a3 0c 02 28 0000 00000100 00 00'))).toBe('5/24/00');
    expect(senseOf(await send('a3 0c 04 28 0000 00000100 00 00'))).toBe('5/24/00');
  });

  it('is a CDB that ends too early, an empty one, and one with NACA', async () => {
    const { send } = initiator();
    expect(senseOf(await send(''))).toBe('5/20/00');
    expect(senseOf(await send('28000000'))).toBe('5/24/00');
    expect(senseOf(await send('000000000004'))).toBe('5/24/00');
    expect(senseOf(await send('0000000000000000'))).toBeUndefined();
  });
});
