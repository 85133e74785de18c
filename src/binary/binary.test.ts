import { crc32 as zlibCrc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  crc32,
  crc32c,
  crc32cOfDifference,
  decodeUtf16le,
  encodeUtf16le,
  isGuid,
  isPowerOfTwo,
  parseGuid,
  randomGuid,
  readGuid,
  writeGuid,
} from './index.ts';

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);

test('CRC-32C of the RFC 3720 vectors', () => {
  expect(crc32c(ascii('123456789'))).toBe(0xe3069283);
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e);
});

test('CRC-32 of the common check value, and of what zlib says where Node offers it', () => {
  expect(crc32(ascii('123456789'))).toBe(0xcbf43926);
  if (typeof zlibCrc32 === 'function') {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => crc32(bytes) === zlibCrc32(bytes)));
  }
});

test('a checksum can be continued at any cut', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, at) => {
      const cut = Math.min(at, bytes.length);
      return crc32c(bytes, cut, bytes.length, crc32c(bytes, 0, cut)) === crc32c(bytes);
    }),
  );
});

test('the checksums of two messages differ by the checksum of their difference', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 20, maxLength: 9000 }),
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      (bytes, change) => {
        const changed = Uint8Array.from(bytes);
        for (let index = 0; index < 4; index++) changed[10 + index] = (bytes[10 + index] ?? 0) ^ (change[index] ?? 0);
        return crc32c(changed) === (crc32c(bytes) ^ crc32cOfDifference(change, bytes.length - 14)) >>> 0;
      },
    ),
  );
});

test('a GUID is stored in the mixed order of Windows', () => {
  const bytes = new Uint8Array(18);
  writeGuid(bytes, 1, '2DC27766-F623-4200-9D64-115E9BFD4A08');
  expect([...bytes]).toEqual([
    0, 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 8, 0,
  ]);
  expect(readGuid(bytes, 1)).toBe('2dc27766-f623-4200-9d64-115e9bfd4a08');
});

test('GUIDs are random, of version 4, and survive a round trip', () => {
  const guid = randomGuid();
  expect(guid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(randomGuid()).not.toBe(guid);
  expect(parseGuid(`{${guid.toUpperCase()}}`)).toBe(guid);
  expect(isGuid('{nonsense}')).toBe(false);
  expect(() => parseGuid('')).toThrow(/not a GUID/);
});

test('UTF-16 keeps every code unit, lone surrogates too', () => {
  const text = 'C:\\Ünïcode\\日本\\\u{1f600}\ud800x';
  expect(decodeUtf16le(encodeUtf16le(text))).toBe(text);
});

test('powers of two', () => {
  expect([1, 2, 2 ** 40].every(isPowerOfTwo)).toBe(true);
  expect([0, -2, 3, 1.5, Number.NaN].some(isPowerOfTwo)).toBe(false);
});
