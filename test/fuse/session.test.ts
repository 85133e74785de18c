import { expect, it } from 'vitest';
import { FuseSession } from '../../src/protocols/fuse/index.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';

const ROUNDS = 20_000;
const SIZE_BYTES = 64 * 1024;
const INIT = 26;

function request(opcode: number, node: number, body: Buffer): Buffer {
  const head = Buffer.alloc(40);
  head.writeUInt32LE(40 + body.length, 0);
  head.writeUInt32LE(opcode, 4);
  head.writeBigUInt64LE(7n, 8);
  head.writeBigUInt64LE(BigInt(node), 16);
  return Buffer.concat([head, body]);
}

function session(device: MemoryDevice): FuseSession {
  return new FuseSession({
    device,
    views: [
      { name: 'disk.raw', offset: 0, sizeBytes: SIZE_BYTES },
      { name: 'part1', offset: 4096, sizeBytes: 8192 },
    ],
    uid: 1,
    gid: 2,
  });
}

it('agrees on the protocol before anything else, and refuses another major version', () => {
  const made = session(new MemoryDevice(SIZE_BYTES));
  expect((made.handle(request(3, 1, Buffer.alloc(16))) as Buffer).readInt32LE(4)).toBe(-5);
  const init = Buffer.alloc(64);
  init.writeUInt32LE(8, 0);
  expect((made.handle(request(INIT, 0, init)) as Buffer).readInt32LE(4)).toBeLessThan(0);
  init.writeUInt32LE(7, 0);
  const answer = made.handle(request(INIT, 0, init)) as Buffer;
  expect([answer.length, answer.readInt32LE(4), answer.readUInt32LE(16), answer.readUInt32LE(20)]).toEqual([
    80, 0, 7, 31,
  ]);
  expect((made.handle(request(3, 1, Buffer.alloc(16))) as Buffer).readInt32LE(4)).toBe(0);
});

it('answers any bytes with a result or an error number, and never writes outside of a view', {
  timeout: 60_000,
}, async () => {
  let state = Date.now() >>> 0;
  const seed = state;
  const random = (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const device = new MemoryDevice(SIZE_BYTES);
  const made = session(device);
  const init = Buffer.alloc(16);
  init.writeUInt32LE(7, 0);
  made.handle(request(INIT, 0, init));
  for (let round = 0; round < ROUNDS; round++) {
    const body = Buffer.alloc(random(120));
    for (let at = 0; at < body.length; at++)
      if (random(4) === 0) body[at] = random(2) === 0 ? random(256) : 1 << random(8);
    const opcode = random(50);
    const node = random(5);
    const what = `seed ${seed}, round ${round}: ${opcode} of ${node} ${body.toString('hex')}`;
    const before = device.writes.length;
    const answer = await made.handle(request(opcode, node, body));
    if (!answer) {
      expect([2, 36, 42], what).toContain(opcode);
      continue;
    }
    expect(answer.length, what).toBe(answer.readUInt32LE(0));
    expect(answer.readBigUInt64LE(8), what).toBe(7n);
    const error = answer.readInt32LE(4);
    expect(error <= 0 && error > -200, what).toBe(true);
    if (error !== 0) expect(answer.length, what).toBe(16);
    for (const { offset, length } of device.writes.slice(before)) {
      const [start, end] = node === 3 ? [4096, 12288] : [0, SIZE_BYTES];
      expect(offset >= start && offset + length <= end, what).toBe(true);
    }
    device.writes = [];
  }
});
