import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compressLz4Legacy } from './lz4.ts';

/** The legacy frame and the block format, from the reader's side; throws where a rule of the format is broken. */
function decompress(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  expect(view.getUint32(0, true)).toBe(0x184c2102);
  const blocks: Uint8Array[] = [];
  for (let at = 4; at < frame.length; ) {
    const size = view.getUint32(at, true);
    blocks.push(decompressBlock(frame.subarray(at + 4, at + 4 + size)));
    at += 4 + size;
  }
  return Buffer.concat(blocks);
}

function decompressBlock(block: Uint8Array): Uint8Array {
  const out = Buffer.alloc(8 * 1024 * 1024);
  let to = 0;
  let at = 0;
  const next = (): number => {
    const value = block[at++];
    if (value === undefined) throw new Error('the block ends too early');
    return value;
  };
  const longer = (nibble: number): number => {
    let length = nibble;
    if (nibble !== 15) return length;
    for (;;) {
      const more = next();
      length += more;
      if (more !== 255) return length;
    }
  };
  for (;;) {
    const token = next();
    const literals = longer(token >> 4);
    out.set(block.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (at === block.length) return out.subarray(0, to);
    const offset = next() | (next() << 8);
    if (offset === 0 || offset > to) throw new Error('a match before the beginning');
    for (let left = longer(token & 15) + 4; left > 0; left--, to++) out[to] = out[to - offset] ?? 0;
  }
}

describe('LZ4 for the kernel', () => {
  it('gives back any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.integer({ min: 1, max: 40 }), (piece, times) => {
        const data = Buffer.concat(Array.from({ length: times }, () => piece));
        if (data.length > 0) expect(Buffer.compare(decompress(compressLz4Legacy(data)), data)).toBe(0);
      }),
    );
  });

  it('shrinks what repeats and hardly grows what does not, over several blocks', () => {
    const zeros = Buffer.alloc(17 * 1024 * 1024);
    const packed = compressLz4Legacy(zeros);
    expect(packed.length).toBeLessThan(zeros.length / 200);
    expect(decompress(packed).length).toBe(zeros.length);
    let seed = 1;
    const noise = Buffer.alloc(100_000).map(() => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed >> 7;
    });
    const stored = compressLz4Legacy(noise);
    expect(stored.length).toBeLessThan(noise.length * 1.01);
    expect(Buffer.compare(decompress(stored), noise)).toBe(0);
  });
});
