import { crc32c, readGuid, safeNumber, writeGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { corrupt } from './corruption.ts';
import {
  CONTAINER_BYTES,
  FILE_AT,
  FORMAT_VERSION,
  HEADER_AT,
  HEADER_OFFSETS,
  HEADER_SIGNATURE,
  MAX_STATE_BYTES,
  PAGE_BYTES,
  SIGNATURE,
  STATE_OFFSETS,
  type VhdSetState,
} from './format.ts';
import { encodeState, parseState } from './state.ts';

/** A container's state, and where the next one goes. */
export interface OpenVhdSet {
  readonly setId: string;
  readonly state: VhdSetState;
  readonly sequence: number;
  /** Which of the two copies holds it; the other is written next. */
  readonly copy: 0 | 1;
}

/** Tells whether the store begins as a VHD Set of hv does. */
export function hasVhdSetSignature(store: ByteStore): boolean {
  const bytes = new Uint8Array(SIGNATURE.length);
  store.read(0, bytes, 0, bytes.length);
  return Buffer.from(bytes).toString('latin1') === SIGNATURE;
}

/** Writes a new container into an empty store, durable when it returns. @throws HvError `unsupported`, `io`, `no-space` */
export function createVhdSetContainer(store: ByteStore, setId: string, state: VhdSetState): OpenVhdSet {
  store.setSize(CONTAINER_BYTES);
  store.allocate(0, CONTAINER_BYTES);
  const page = new Uint8Array(PAGE_BYTES);
  page.set(Buffer.from(SIGNATURE, 'latin1'), FILE_AT.signature);
  const view = new DataView(page.buffer);
  view.setUint32(FILE_AT.version, FORMAT_VERSION, true);
  writeGuid(page, FILE_AT.setId, setId);
  view.setUint32(FILE_AT.checksum, crc32c(page), true);
  store.write(0, page, 0, PAGE_BYTES);
  return writeVhdSet(store, { setId, state, sequence: 0, copy: 1 }, state);
}

/**
 * Reads a container: the newest of its two states that is whole.
 * @throws HvError `corrupt`, `unsupported` (no container of hv, or one of a later version), `io`
 */
export function readVhdSet(store: ByteStore): OpenVhdSet {
  const page = readPage(store, 0);
  const view = new DataView(page.buffer);
  if (!hasVhdSetSignature(store)) {
    throw new HvError('unsupported', `${store.name} is not a VHD Set that hv made`, {
      detail: { path: store.name },
      hint: "The format of Hyper-V's own .vhds files is not published; the .avhdx beside one is an ordinary VHDX file.",
    });
  }
  if (view.getUint32(FILE_AT.checksum, true) !== checksumOf(page, FILE_AT.checksum)) {
    throw corrupt(store.name, 'file-page', 0, view.getUint32(FILE_AT.checksum, true));
  }
  const version = view.getUint32(FILE_AT.version, true);
  if (version !== FORMAT_VERSION) {
    throw new HvError('unsupported', `${store.name} is a VHD Set of version ${version}, which this hv does not know`, {
      detail: { path: store.name, version },
    });
  }
  const found = [readCopy(store, 0), readCopy(store, 1)].filter((copy) => copy !== undefined);
  const [newest] = found.sort((a, b) => b.sequence - a.sequence);
  if (!newest) throw corrupt(store.name, 'no-valid-state', HEADER_OFFSETS[0], 0);
  const state = parseState(store.name, newest.bytes, STATE_OFFSETS[newest.copy]);
  return { setId: readGuid(page, FILE_AT.setId), state, sequence: newest.sequence, copy: newest.copy };
}

/** Replaces the state: at every moment the old or the new one counts. Durable when it returns. */
export function writeVhdSet(store: ByteStore, before: OpenVhdSet, state: VhdSetState): OpenVhdSet {
  const copy = before.copy === 0 ? 1 : 0;
  const sequence = before.sequence + 1;
  const bytes = encodeState(state);
  store.write(STATE_OFFSETS[copy], bytes, 0, bytes.length);
  // The state must be there before anything leads to it.
  store.flushSync();
  const header = new Uint8Array(PAGE_BYTES);
  const view = new DataView(header.buffer);
  view.setUint32(HEADER_AT.signature, HEADER_SIGNATURE, true);
  view.setBigUint64(HEADER_AT.sequence, BigInt(sequence), true);
  view.setBigUint64(HEADER_AT.stateOffset, BigInt(STATE_OFFSETS[copy]), true);
  view.setUint32(HEADER_AT.stateLength, bytes.length, true);
  view.setUint32(HEADER_AT.stateChecksum, crc32c(bytes), true);
  view.setUint32(HEADER_AT.checksum, crc32c(header), true);
  store.write(HEADER_OFFSETS[copy], header, 0, PAGE_BYTES);
  store.flushSync();
  return { setId: before.setId, state, sequence, copy };
}

/** A header and the bytes that it leads to, where both are whole. */
function readCopy(
  store: ByteStore,
  copy: 0 | 1,
): { readonly copy: 0 | 1; readonly sequence: number; readonly bytes: Uint8Array } | undefined {
  const header = readPage(store, HEADER_OFFSETS[copy]);
  const view = new DataView(header.buffer);
  if (view.getUint32(HEADER_AT.signature, true) !== HEADER_SIGNATURE) return undefined;
  if (view.getUint32(HEADER_AT.checksum, true) !== checksumOf(header, HEADER_AT.checksum)) return undefined;
  const rawSequence = view.getBigUint64(HEADER_AT.sequence, true);
  const length = view.getUint32(HEADER_AT.stateLength, true);
  if (rawSequence >= BigInt(Number.MAX_SAFE_INTEGER) || length > MAX_STATE_BYTES) return undefined;
  if (view.getBigUint64(HEADER_AT.stateOffset, true) !== BigInt(STATE_OFFSETS[copy])) return undefined;
  const bytes = new Uint8Array(length);
  store.read(STATE_OFFSETS[copy], bytes, 0, length);
  if (crc32c(bytes) !== view.getUint32(HEADER_AT.stateChecksum, true)) return undefined;
  return { copy, sequence: safeNumber(rawSequence) ?? 0, bytes };
}

function readPage(store: ByteStore, offset: number): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  store.read(offset, page, 0, PAGE_BYTES);
  return page;
}

function checksumOf(page: Uint8Array, at: number): number {
  const copy = page.slice();
  copy.fill(0, at, at + 4);
  return crc32c(copy);
}
