/**
 * CRC-32C (Castagnoli, as in iSCSI and VHDX) and CRC-32 (zlib), eight bytes a step.
 * `crc` continues an earlier call: crc32c(b, ..., crc32c(a)) equals the checksum of a followed by b.
 */
const SLICES = 8;

function makeTables(polynomial: number): Int32Array {
  const tables = new Int32Array(SLICES * 256);
  for (let value = 0; value < 256; value++) {
    let crc = value;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    tables[value] = crc;
  }
  for (let slice = 1; slice < SLICES; slice++) {
    for (let value = 0; value < 256; value++) {
      const before = tables[(slice - 1) * 256 + value] ?? 0;
      tables[slice * 256 + value] = (before >>> 8) ^ (tables[before & 0xff] ?? 0);
    }
  }
  return tables;
}

const CASTAGNOLI = makeTables(0x82f63b78);
const ZLIB = makeTables(0xedb88320);

/** The register's way through the bytes, without the inversions at the start and the end. */
function advance(tables: Int32Array, register: number, bytes: Uint8Array, start: number, end: number): number {
  // The indexes are in range by construction; `as number` keeps the inner loop free of branches.
  let crc = register;
  let at = start;
  for (; at + 8 <= end; at += 8) {
    const b0 = ((bytes[at] as number) ^ crc) & 0xff;
    const b1 = ((bytes[at + 1] as number) ^ (crc >>> 8)) & 0xff;
    const b2 = ((bytes[at + 2] as number) ^ (crc >>> 16)) & 0xff;
    const b3 = (bytes[at + 3] as number) ^ (crc >>> 24);
    crc =
      (tables[1792 + b0] as number) ^
      (tables[1536 + b1] as number) ^
      (tables[1280 + b2] as number) ^
      (tables[1024 + b3] as number) ^
      (tables[768 + (bytes[at + 4] as number)] as number) ^
      (tables[512 + (bytes[at + 5] as number)] as number) ^
      (tables[256 + (bytes[at + 6] as number)] as number) ^
      (tables[bytes[at + 7] as number] as number);
  }
  for (; at < end; at++) crc = (tables[(crc ^ (bytes[at] as number)) & 0xff] as number) ^ (crc >>> 8);
  return crc;
}

/** CRC-32C of bytes[start, end). */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length, crc = 0): number {
  return ~advance(CASTAGNOLI, ~crc, bytes, start, end) >>> 0;
}

/** CRC-32 (zlib) of bytes[start, end). */
export function crc32(bytes: Uint8Array, start = 0, end = bytes.length, crc = 0): number {
  return ~advance(ZLIB, ~crc, bytes, start, end) >>> 0;
}

/**
 * What must be XORed onto the CRC-32C of a message when `difference` is XORed onto its bytes and `zerosAfter` bytes
 * follow. CRC is linear: two messages of one length differ in their checksums by a value that depends only on their difference.
 */
export function crc32cOfDifference(difference: Uint8Array, zerosAfter: number): number {
  let register = advance(CASTAGNOLI, 0, difference, 0, difference.length);
  const zeros = new Uint8Array(Math.min(zerosAfter, 4096));
  for (let left = zerosAfter; left > 0; left -= zeros.length) {
    register = advance(CASTAGNOLI, register, zeros, 0, Math.min(left, zeros.length));
  }
  return register >>> 0;
}
