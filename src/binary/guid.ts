import { randomFillSync } from 'node:crypto';
import { HvError } from '../errors/index.ts';

/** The GUID of which every bit is zero, in text. */
export const ZERO_GUID = '00000000-0000-0000-0000-000000000000';
export const GUID_BYTES = 16;

/** Text position of each stored byte: the first three fields are little-endian, the rest is as written (RFC 4122, Microsoft's order). */
const BYTE_ORDER = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15] as const;
const GUID_TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const HEX = Array.from({ length: 256 }, (_, value) => value.toString(16).padStart(2, '0'));

/** Reads the 16 bytes at `offset` as lower-case text without braces. */
export function readGuid(bytes: Uint8Array, offset = 0): string {
  let text = '';
  for (let index = 0; index < GUID_BYTES; index++) {
    if (index === 4 || index === 6 || index === 8 || index === 10) text += '-';
    text += HEX[bytes[offset + (BYTE_ORDER[index] ?? 0)] ?? 0];
  }
  return text;
}

/** Writes the 16 bytes of a GUID at `offset`. @throws HvError `invalid-argument` when the text is no GUID */
export function writeGuid(bytes: Uint8Array, offset: number, guid: string): void {
  const hex = parseGuid(guid).replaceAll('-', '');
  for (let index = 0; index < GUID_BYTES; index++) {
    bytes[offset + (BYTE_ORDER[index] ?? 0)] = Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16);
  }
}

/** A fresh random GUID (version 4). */
export function randomGuid(): string {
  const bytes = randomFillSync(new Uint8Array(GUID_BYTES));
  bytes[7] = ((bytes[7] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return readGuid(bytes);
}

/** Tells whether a text is a GUID, with or without braces. */
export function isGuid(text: string): boolean {
  return GUID_TEXT.test(withoutBraces(text));
}

/** Normalises a GUID's text: lower case, no braces. @throws HvError `invalid-argument` */
export function parseGuid(text: string): string {
  const bare = withoutBraces(text);
  if (!GUID_TEXT.test(bare)) throw new HvError('invalid-argument', `${JSON.stringify(text)} is not a GUID`);
  return bare.toLowerCase();
}

function withoutBraces(text: string): string {
  return text.startsWith('{') && text.endsWith('}') ? text.slice(1, -1) : text;
}
