import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isHvError } from '../../errors/index.ts';
import { encodeGpt, GPT_TYPE, type GptPartition, type GptSpec, gptUsableSectors, parseGpt } from './index.ts';

const MIB = 1024 * 1024;
const guid = fc.uuid().map((text) => text.toLowerCase());

/** Partitions that follow each other on a disk of 64 MiB. */
const spec = fc
  .record({
    diskId: guid,
    sectorSizeBytes: fc.constantFrom(512, 4096),
    parts: fc.array(
      fc.record({
        typeId: guid,
        partitionId: guid,
        name: fc
          .string({ maxLength: 18, unit: 'grapheme' })
          .filter((name) => name.length <= 36 && !name.includes('\0')),
        attributes: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      }),
      { maxLength: 128 },
    ),
  })
  .map(({ diskId, sectorSizeBytes, parts }): GptSpec => {
    const { first } = gptUsableSectors(64 * MIB, sectorSizeBytes);
    const partitions = parts.map((part, index) => ({
      ...part,
      firstSector: first + index * 8,
      lastSector: first + index * 8 + 7,
    }));
    return { diskId, diskSizeBytes: 64 * MIB, sectorSizeBytes, partitions };
  });

function diskOf(value: GptSpec): Uint8Array {
  const disk = new Uint8Array(value.diskSizeBytes);
  for (const { offset, bytes } of encodeGpt(value)) disk.set(bytes, offset);
  return disk;
}

function reader(disk: Uint8Array): (offset: number, length: number) => Uint8Array {
  return (offset, length) => {
    const bytes = Buffer.alloc(length);
    bytes.set(disk.subarray(offset, offset + length));
    return bytes;
  };
}

const one: GptPartition = {
  typeId: GPT_TYPE.linuxData,
  partitionId: '00112233-4455-6677-8899-aabbccddeeff',
  firstSector: 2048,
  lastSector: 4095,
  name: 'data',
};
const small: GptSpec = {
  diskId: '11111111-2222-3333-4444-555555555555',
  diskSizeBytes: 64 * MIB,
  sectorSizeBytes: 512,
  partitions: [one],
};

describe('the GUID partition table', () => {
  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(spec, (value) => {
        const read = parseGpt(reader(diskOf(value)), value.sectorSizeBytes);
        expect(read.diskId).toBe(value.diskId);
        expect(read.partitions).toEqual(value.partitions.filter(({ typeId }) => typeId !== GPT_TYPE.unused));
      }),
      { numRuns: 25 },
    );
  });

  it('writes a copy at the end that points back, with the table before it', () => {
    const disk = diskOf(small);
    const last = new DataView(disk.buffer, disk.length - 512);
    expect(last.getBigUint64(24, true)).toBe(BigInt(disk.length / 512 - 1));
    expect(last.getBigUint64(32, true)).toBe(1n);
    expect(last.getBigUint64(72, true)).toBe(BigInt(disk.length / 512 - 33));
    expect(disk.subarray(disk.length - 33 * 512, disk.length - 512)).toEqual(disk.subarray(1024, 1024 + 32 * 512));
  });

  it('stores a GUID with its first three groups turned around', () => {
    const entry = diskOf(small).subarray(1024);
    expect(Buffer.from(entry.subarray(16, 32)).toString('hex')).toBe('33221100554477668899aabbccddeeff');
  });

  it('refuses partitions that overlap, leave the usable range, end before they start, or have long names', () => {
    const refused: readonly (readonly [Partial<GptPartition>, RegExp])[] = [
      [{ firstSector: 33 }, /outside/],
      [{ lastSector: 131_072 - 33 }, /outside/],
      [{ lastSector: 2047 }, /ends before/],
      [{ name: 'x'.repeat(37) }, /36/],
    ];
    for (const [change, message] of refused) {
      expect(() => encodeGpt({ ...small, partitions: [{ ...one, ...change }] })).toThrow(message);
    }
    const touching = { ...one, firstSector: 4095, lastSector: 5000 };
    expect(() => encodeGpt({ ...small, partitions: [one, touching] })).toThrow(/overlaps/);
  });

  it('finds every single damaged byte of header and table', () => {
    fc.assert(
      fc.property(
        fc.oneof(fc.integer({ min: 512, max: 512 + 91 }), fc.integer({ min: 1024, max: 1024 + 16_383 })),
        fc.integer({ min: 1, max: 255 }),
        (at, change) => {
          const disk = diskOf(small);
          disk[at] = (disk[at] ?? 0) ^ change;
          expect(() => parseGpt(reader(disk), 512)).toThrow();
        },
      ),
      { numRuns: 60 },
    );
  });

  it('gives a value or an error for any header, and never asks for more than 1 MiB', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 504, maxLength: 504 }), (rest) => {
        const header = Buffer.concat([Buffer.from('EFI PART'), rest]);
        const read = (offset: number, length: number): Uint8Array => {
          expect(length).toBeLessThanOrEqual(MIB);
          return offset === 512 ? header : new Uint8Array(length);
        };
        try {
          parseGpt(read, 512);
        } catch (error) {
          expect(isHvError(error, 'corrupt')).toBe(true);
        }
      }),
    );
  });
});
