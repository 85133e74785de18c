/**
 * binary: how numbers, GUIDs, checksums and text lie in bytes. Pure functions; imports errors only.
 *
 *     bytes --read--> number | GUID text | string --write--> the same bytes
 */
export { crc32, crc32c, crc32cOfDifference } from './crc32c.ts';
export { GUID_BYTES, isGuid, parseGuid, randomGuid, readGuid, writeGuid, ZERO_GUID } from './guid.ts';
export { isPowerOfTwo, roundDown, roundUp, safeNumber } from './integer.ts';
export { decodeUtf16le, encodeUtf16le } from './utf16.ts';
