import { expect, it } from 'vitest';
import { HvError } from '../../src/errors/index.ts';
import { encodedLength } from './sense-length.ts';
import { initiator } from './target.ts';

const ROUNDS = 12_000;
const POOL_BYTES = 64 * 1024;

/** A small generator, so that a failure can be made again from its seed. */
function generator(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

it('answers any CDB with a status, and sense data exactly when it is no GOOD; never throws; bounds what it answers', {
  timeout: 60_000,
}, async () => {
  const seed = Date.now() >>> 0;
  const random = generator(seed);
  const { send, device } = initiator({ sizeBytes: 1024 * 1024 });
  const pool = Buffer.from(Uint8Array.from({ length: POOL_BYTES }, () => (random(4) === 0 ? random(256) : 0)));
  const codes = await knownCodes(send);
  for (let round = 0; round < ROUNDS; round++) {
    const cdb = Buffer.from(Uint8Array.from({ length: random(20) }, () => random(256)));
    if (cdb.length > 0 && random(4) > 0) cdb[0] = codes[random(codes.length)] ?? 0;
    // Mostly small numbers: else every range ends in the same refusal.
    for (let at = 1; at < cdb.length; at++) if (random(3) > 0) cdb[at] = random(3) === 0 ? 1 << random(8) : 0;
    const from = random(POOL_BYTES - 2000);
    const dataOut = pool.subarray(from, from + random(2000));
    device.failure = random(20) === 0 ? { kind: 'read', error: new HvError('io', 'broken') } : undefined;
    const what = `seed ${seed}, round ${round}, ${cdb.toString('hex')}`;
    const { status, sense, senseData, dataIn } = await send(cdb.toString('hex'), dataOut);
    expect([0, 2], what).toContain(status);
    expect(sense === null, what).toBe(status === 0);
    if (status === 2) {
      expect(senseData.length, what).toBe(encodedLength(senseData));
      expect(dataIn.length, what).toBe(0);
    } else expect(senseData.length, what).toBe(0);
    expect(dataIn.length, what).toBeLessThanOrEqual(32 * 2 ** 20);
  }
});

async function knownCodes(send: (cdb: string) => Promise<{ dataIn: Uint8Array }>): Promise<number[]> {
  const { dataIn } = await send('a30c00000000000010000000');
  return Array.from({ length: (dataIn.length - 4) / 8 }, (_, index) => dataIn[4 + index * 8] ?? 0);
}
