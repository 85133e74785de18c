/**
 * Compresses for Linux's own unpacker, which takes LZ4's legacy frame: the fastest to unpack of what every kernel
 * knows, which counts in a guest without KVM. LZ4 block format and frame format documents, "legacy frame".
 */
const LEGACY_MAGIC = 0x184c2102;
/** Every block but the last holds exactly this much. */
const LEGACY_BLOCK_BYTES = 8 * 1024 * 1024;
const MIN_MATCH = 4;
/** A block ends with at least 5 literals, and its last match starts 12 bytes before the end or earlier. */
const LAST_LITERALS = 5;
const MATCH_LIMIT = 12;
const MAX_OFFSET = 0xffff;
const HASH_BITS = 16;
const HASH_FACTOR = 2_654_435_761;

export function compressLz4Legacy(data: Uint8Array): Uint8Array {
  const header = new Uint8Array(4);
  new DataView(header.buffer).setUint32(0, LEGACY_MAGIC, true);
  const chunks: Uint8Array[] = [header];
  for (let at = 0; at < data.length; at += LEGACY_BLOCK_BYTES) {
    const block = compressBlock(data.subarray(at, at + LEGACY_BLOCK_BYTES));
    const size = new Uint8Array(4);
    new DataView(size.buffer).setUint32(0, block.length, true);
    chunks.push(size, block);
  }
  return Buffer.concat(chunks);
}

/** The greedy way: one candidate per four bytes seen; steps grow where nothing matches. */
function compressBlock(source: Uint8Array): Uint8Array {
  const out = new Uint8Array(source.length + Math.ceil(source.length / 255) + 16);
  const view = new DataView(source.buffer, source.byteOffset, source.length);
  const lastPosition = new Int32Array(1 << HASH_BITS).fill(-1);
  let written = 0;
  let anchor = 0;

  const writeLength = (length: number): void => {
    let rest = length - 15;
    for (; rest >= 255; rest -= 255) out[written++] = 255;
    out[written++] = rest;
  };
  const writeSequence = (literalEnd: number, offset: number, matchLength: number): void => {
    const literals = literalEnd - anchor;
    const extra = matchLength - MIN_MATCH;
    const hasMatch = matchLength > 0;
    out[written++] = (Math.min(literals, 15) << 4) | (hasMatch ? Math.min(extra, 15) : 0);
    if (literals >= 15) writeLength(literals);
    out.set(source.subarray(anchor, literalEnd), written);
    written += literals;
    if (!hasMatch) return;
    out[written++] = offset & 0xff;
    out[written++] = offset >> 8;
    if (extra >= 15) writeLength(extra);
  };

  let misses = 0;
  for (let at = 0; at < source.length - MATCH_LIMIT; ) {
    const word = view.getUint32(at, true);
    const slot = Math.imul(word, HASH_FACTOR) >>> (32 - HASH_BITS);
    const candidate = lastPosition[slot] ?? -1;
    lastPosition[slot] = at;
    if (candidate < 0 || at - candidate > MAX_OFFSET || view.getUint32(candidate, true) !== word) {
      at += 1 + (misses++ >> 6);
      continue;
    }
    misses = 0;
    let length = MIN_MATCH;
    const limit = source.length - LAST_LITERALS - at;
    while (length < limit && source[candidate + length] === source[at + length]) length++;
    writeSequence(at, at - candidate, length);
    at += length;
    anchor = at;
  }
  writeSequence(source.length, 0, 0);
  return out.subarray(0, written);
}
