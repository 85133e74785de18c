import { decodeUtf16le, safeNumber } from '../../binary/index.ts';
import type { NtfsBoot } from './boot-sector.ts';
import { corrupt } from './corruption.ts';
import { ATTRIBUTE, DIRECTORY_INDEX, INDEX_MAGIC, RECORD } from './format.ts';
import type { MasterFileTable } from './master-file-table.ts';
import { applyUpdateSequence } from './update-sequence.ts';

/** A root folder with more index than this has hundreds of thousands of files. */
const MAX_INDEX_BYTES = 64 * 1024 * 1024;
/** A name stands once in a folder; more come only from unused blocks. */
const MAX_FOUND = 64;
/** Where an index's header lies: in the root attribute, and in a block. */
const ROOT_HEADER_AT = 0x10;
const BLOCK_HEADER_AT = 0x18;
const HEADER_AT = { entries: 0, used: 4 } as const;
const ENTRY_AT = { record: 0, length: 8, keyLength: 0xa, flags: 0xc, key: 0x10 } as const;
const ENTRY_LAST = 2;
/** In a key: the length of the name in units, and the name. */
const NAME_LENGTH_AT = 0x40;
const NAME_AT = 0x42;

/**
 * The records of the files in the root folder that have a name, upper and lower case alike. Looks at every block of
 * the index instead of following its tree, so that a name in an unused block is found too: that errs on the safe side.
 * @throws HvError `corrupt`, `io`
 */
export function findInRoot(table: MasterFileTable, boot: NtfsBoot, name: string): number[] {
  const found: number[] = [];
  const root = table.stream(RECORD.root, ATTRIBUTE.indexRoot, DIRECTORY_INDEX);
  if (!root?.value) throw corrupt('attribute-missing', 0, RECORD.root);
  collect(root.value, ROOT_HEADER_AT, name.toLowerCase(), found);
  const blocks = table.stream(RECORD.root, ATTRIBUTE.indexAllocation, DIRECTORY_INDEX);
  if (!blocks) return found;
  if (blocks.sizeBytes > MAX_INDEX_BYTES) throw corrupt('index-bounds', 0, blocks.sizeBytes);
  const { indexBlockBytes } = boot;
  for (let at = 0; at + indexBlockBytes <= blocks.sizeBytes; at += indexBlockBytes) {
    const bytes = table.readStream(blocks, at, indexBlockBytes);
    // A block that was never used is zeros.
    if (bytes[0] === 0) continue;
    applyUpdateSequence(bytes, INDEX_MAGIC, at);
    collect(bytes, BLOCK_HEADER_AT, name.toLowerCase(), found);
  }
  return found;
}

function collect(bytes: Uint8Array, headerAt: number, name: string, found: number[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (headerAt + 16 > bytes.length) throw corrupt('index-bounds', headerAt, bytes.length);
  const end = headerAt + view.getUint32(headerAt + HEADER_AT.used, true);
  let at = headerAt + view.getUint32(headerAt + HEADER_AT.entries, true);
  if (end > bytes.length) throw corrupt('index-bounds', headerAt, end);
  while (at + ENTRY_AT.key <= end) {
    const length = view.getUint16(at + ENTRY_AT.length, true);
    if (length < ENTRY_AT.key || at + length > end) throw corrupt('index-bounds', at, length);
    if ((view.getUint16(at + ENTRY_AT.flags, true) & ENTRY_LAST) !== 0) return;
    const keyLength = view.getUint16(at + ENTRY_AT.keyLength, true);
    if (keyLength > length - ENTRY_AT.key || keyLength < NAME_AT) throw corrupt('index-bounds', at, keyLength);
    const key = bytes.subarray(at + ENTRY_AT.key, at + ENTRY_AT.key + keyLength);
    const nameBytes = (key[NAME_LENGTH_AT] ?? 0) * 2;
    if (decodeUtf16le(key.subarray(NAME_AT, NAME_AT + nameBytes)).toLowerCase() === name) {
      const record = safeNumber(view.getBigUint64(at + ENTRY_AT.record, true) & 0xffff_ffff_ffffn);
      if (record !== undefined && !found.includes(record)) found.push(record);
      if (found.length > MAX_FOUND) throw corrupt('index-bounds', at, found.length);
    }
    at += length;
  }
}
