import { randomGuid, roundUp } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { DiskType } from '../disk-image.ts';
import { encodeDynamicHeader, type LocatorEntry, tableBytesOf, withParent } from './dynamic-header.ts';
import { encodeFooter } from './footer.ts';
import { FOOTER_BYTES, MAX_VIRTUAL_SIZE, MIB, NEW_BLOCK_SIZES, NEW_FILE, SECTOR } from './format.ts';
import { newLocators, type VhdLocatorPaths } from './locator.ts';

/** Windows makes no smaller VHD. */
export const MIN_VIRTUAL_SIZE = 3 * MIB;
const TABLE_CHUNK_BYTES = MIB;

/** Who a new child's parent is. */
export interface NewVhdParent {
  readonly uniqueId: string;
  /** When the parent's file was last changed: seconds since 2000. */
  readonly timestamp: number;
  /** The name of the parent's file. */
  readonly name: string;
  readonly paths: VhdLocatorPaths;
}

export interface NewVhd {
  readonly type: DiskType;
  readonly virtualSizeBytes: number;
  /** Of a dynamic or differencing disk: 2 MiB (default) or 512 KiB. */
  readonly blockSizeBytes?: number | undefined;
  /** Default: random. */
  readonly uniqueId?: string | undefined;
  /** Of a differencing disk. */
  readonly parent?: NewVhdParent | undefined;
}

/** Refuses sizes that the format does not have. @throws HvError `invalid-argument` */
export function validateNewVhd(spec: NewVhd): void {
  const refuse = (what: string, value: number): never => {
    throw new HvError('invalid-argument', `${what}; ${value} is not`, { detail: { value } });
  };
  const size = spec.virtualSizeBytes;
  if (!Number.isSafeInteger(size) || size < MIN_VIRTUAL_SIZE || size > MAX_VIRTUAL_SIZE) {
    refuse('the size of a VHD must be from 3 MiB to 2040 GiB', size);
  }
  if (size % SECTOR !== 0) refuse('the size of a VHD must be a multiple of 512 bytes', size);
  const block = spec.blockSizeBytes;
  if (block !== undefined && !NEW_BLOCK_SIZES.includes(block)) {
    refuse('the block size of a VHD must be 512 KiB or 2 MiB', block);
  }
  if (spec.type === 'fixed' && block !== undefined) {
    throw new HvError('invalid-argument', 'a fixed VHD has no blocks, so it has no block size');
  }
  if ((spec.type === 'differencing') !== (spec.parent !== undefined)) {
    throw new HvError('invalid-argument', 'a differencing VHD, and no other, has a parent');
  }
}

/**
 * Writes a new, empty disk into an empty store, laid out as Windows does. The caller flushes.
 * @throws HvError `invalid-argument`, `no-space`, `io`
 */
export function createVhdImage(store: ByteStore, spec: NewVhd): void {
  validateNewVhd(spec);
  const { type, virtualSizeBytes: sizeBytes } = spec;
  const uniqueId = spec.uniqueId ?? randomGuid();
  if (type === 'fixed') {
    store.setSize(sizeBytes + FOOTER_BYTES);
    store.allocate(0, sizeBytes + FOOTER_BYTES);
    store.write(sizeBytes, encodeFooter({ type, sizeBytes, uniqueId, headerOffset: undefined }), 0, FOOTER_BYTES);
    return;
  }
  const blockSizeBytes = spec.blockSizeBytes ?? NEW_FILE.blockSize;
  const tableEntries = Math.ceil(sizeBytes / blockSizeBytes);
  const { headerOffset, tableOffset } = NEW_FILE;
  const tableEnd = tableOffset + tableBytesOf(tableEntries);
  const footer = encodeFooter({ type, sizeBytes, uniqueId, headerOffset });
  let header = encodeDynamicHeader({ tableOffset, tableEntries, blockSizeBytes });
  let end = tableEnd;
  if (spec.parent) {
    const locators: LocatorEntry[] = [];
    for (const { platform, bytes } of newLocators(spec.parent.paths)) {
      const spaceBytes = roundUp(bytes.length, SECTOR);
      locators.push({ platform, fileOffset: end, spaceBytes, length: bytes.length });
      store.write(end, bytes, 0, bytes.length);
      end += spaceBytes;
    }
    header = withParent(header, { ...spec.parent, locators });
  }
  writeUnusedEntries(store, tableOffset, tableEnd);
  store.write(headerOffset, header, 0, header.length);
  store.write(end, footer, 0, FOOTER_BYTES);
  store.write(0, footer, 0, FOOTER_BYTES);
}

/** Fills a table's range with entries of no block. */
export function writeUnusedEntries(store: ByteStore, start: number, end: number): void {
  const chunk = new Uint8Array(Math.min(TABLE_CHUNK_BYTES, Math.max(0, end - start))).fill(0xff);
  for (let at = start; at < end; at += chunk.length) store.write(at, chunk, 0, Math.min(chunk.length, end - at));
}
