/** Text of UTF-16LE bytes. Lone surrogates survive: the same bytes come out of encodeUtf16le. */
export function decodeUtf16le(bytes: Uint8Array, start = 0, end = bytes.length): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, (end - start) & ~1).toString('utf16le');
}

/** UTF-16LE bytes of a text, without a terminator. */
export function encodeUtf16le(text: string): Uint8Array {
  const buffer = Buffer.from(text, 'utf16le');
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}
