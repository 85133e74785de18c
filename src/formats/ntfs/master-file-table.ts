import { safeNumber } from '../../binary/index.ts';
import type { VolumeBytes } from '../file-system.ts';
import { type Attribute, readAttributes } from './attributes.ts';
import type { NtfsBoot } from './boot-sector.ts';
import { corrupt } from './corruption.ts';
import { ATTRIBUTE, FILE_MAGIC, RECORD, RECORD_AT, RECORD_IN_USE } from './format.ts';
import type { Run } from './runs.ts';
import { applyUpdateSequence } from './update-sequence.ts';

/** No attribute list of a system file comes near. */
const MAX_LIST_BYTES = 256 * 1024;
const MAX_LIST_ENTRIES = 4096;
const MIN_LIST_ENTRY_BYTES = 0x1a;
/** Runs of one file: even a bitmap in a piece a cluster has fewer. */
const MAX_RUNS = 2 ** 20;
const LIST_ENTRY_AT = { type: 0, length: 4, record: 0x10 } as const;

/** A file's contents: bytes that are here, or clusters. */
export type Stream =
  | { readonly value: Uint8Array; readonly sizeBytes: number; readonly flags: number }
  | {
      readonly value?: undefined;
      readonly runs: readonly Run[];
      readonly sizeBytes: number;
      /** What lies behind reads as zero whatever the clusters hold. */
      readonly initializedBytes: number;
      readonly flags: number;
    };

/** The records of a volume's files, found through record 0, which is the table's own. */
export class MasterFileTable {
  readonly #volume: VolumeBytes;
  readonly #boot: NtfsBoot;
  #runs: readonly Run[];

  /** @throws HvError `corrupt`, `io` */
  constructor(volume: VolumeBytes, boot: NtfsBoot) {
    this.#volume = volume;
    this.#boot = boot;
    // Record 0 lies at the table's start, whatever the rest of it looks like.
    this.#runs = [{ cluster: boot.mftCluster, count: Math.ceil(boot.recordBytes / boot.clusterSizeBytes) }];
    const own = this.#attributesIn(RECORD.mft).find(({ type, name }) => type === ATTRIBUTE.data && name === '');
    if (!own || own.value || own.runs[0]?.cluster !== boot.mftCluster) {
      throw corrupt('attribute-missing', boot.mftCluster * boot.clusterSizeBytes, RECORD.mft);
    }
    this.#runs = own.runs;
    // A table in many pieces describes the later ones in records that lie in the earlier.
    this.#runs = runsOf(this.stream(RECORD.mft, ATTRIBUTE.data, ''), own.runs);
  }

  /** All attributes of a file, those that lie in further records included. @throws HvError `corrupt`, `io` */
  attributes(record: number): Attribute[] {
    const own = this.#attributesIn(record);
    const list = own.find(({ type }) => type === ATTRIBUTE.list);
    if (!list) return own;
    const bytes = this.#listBytes(list, record);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const records = new Set<number>();
    for (let at = 0, entries = 0; at + MIN_LIST_ENTRY_BYTES <= bytes.length; entries++) {
      const length = view.getUint16(at + LIST_ENTRY_AT.length, true);
      // The upper 16 bits are the record's sequence number.
      const target = safeNumber(view.getBigUint64(at + LIST_ENTRY_AT.record, true) & 0xffff_ffff_ffffn);
      if (length < MIN_LIST_ENTRY_BYTES || target === undefined || entries === MAX_LIST_ENTRIES) {
        throw corrupt('attribute-list', at, length);
      }
      if (target !== record) records.add(target);
      at += length;
    }
    const all = [...own];
    let runs = 0;
    for (const target of records) {
      for (const attribute of this.#attributesIn(target)) {
        all.push(attribute);
        runs += attribute.value ? 0 : attribute.runs.length;
      }
      if (runs > MAX_RUNS) throw corrupt('attribute-list', target, runs);
    }
    return all;
  }

  /** The pieces of one attribute put together; undefined where the file has none. @throws HvError `corrupt`, `io` */
  stream(record: number, type: number, name: string): Stream | undefined {
    return streamOf(this.attributes(record), type, name, record);
  }

  /** @throws HvError `corrupt`, `io`; what is a hole or was never written reads as zero */
  readStream(stream: Stream, offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    if (stream.value) {
      bytes.set(stream.value.subarray(offset, offset + length));
      return bytes;
    }
    const { clusterSizeBytes } = this.#boot;
    const end = Math.min(offset + length, stream.initializedBytes, stream.sizeBytes);
    let start = 0;
    for (const { cluster, count } of stream.runs) {
      const runBytes = count * clusterSizeBytes;
      const from = Math.max(offset, start);
      const to = Math.min(end, start + runBytes);
      if (from < to && cluster >= 0) {
        bytes.set(this.#volume.read(cluster * clusterSizeBytes + (from - start), to - from), from - offset);
      }
      start += runBytes;
      if (start >= end) break;
    }
    return bytes;
  }

  #attributesIn(record: number): Attribute[] {
    const { recordBytes, clusters } = this.#boot;
    const all = { runs: this.#runs, sizeBytes: Number.MAX_SAFE_INTEGER, initializedBytes: Number.MAX_SAFE_INTEGER };
    const bytes = this.readStream({ ...all, flags: 0 }, record * recordBytes, recordBytes);
    const offset = record * recordBytes;
    applyUpdateSequence(bytes, FILE_MAGIC, offset);
    const flags = new DataView(bytes.buffer).getUint16(RECORD_AT.flags, true);
    if ((flags & RECORD_IN_USE) === 0) throw corrupt('record-not-in-use', offset, record);
    return readAttributes(bytes, offset, clusters);
  }

  #listBytes(list: Attribute, record: number): Uint8Array {
    if (list.value) return list.value;
    const { sizeBytes, initializedBytes, runs, flags } = list;
    if (sizeBytes > MAX_LIST_BYTES) throw corrupt('attribute-list', record, sizeBytes);
    return this.readStream({ runs, sizeBytes, initializedBytes, flags }, 0, sizeBytes);
  }
}

/** Puts the pieces of an attribute in order. @throws HvError `corrupt`: a piece is missing */
function streamOf(attributes: readonly Attribute[], type: number, name: string, record: number): Stream | undefined {
  const pieces = attributes.filter((attribute) => attribute.type === type && attribute.name === name);
  const first = pieces.find(({ value, lowestVcn }) => value !== undefined || lowestVcn === 0);
  if (!first) {
    if (pieces.length > 0) throw corrupt('attribute-missing', 0, record);
    return undefined;
  }
  if (first.value) return { value: first.value, sizeBytes: first.value.length, flags: first.flags };
  const runs: Run[] = [];
  let clusters = 0;
  const rest = pieces.flatMap((piece) => (piece.value ? [] : [piece])).sort((a, b) => a.lowestVcn - b.lowestVcn);
  for (const piece of rest) {
    if (piece.lowestVcn !== clusters) throw corrupt('attribute-missing', piece.lowestVcn, record);
    for (const run of piece.runs) {
      runs.push(run);
      clusters += run.count;
    }
  }
  const { sizeBytes, initializedBytes, flags } = first;
  return { runs, sizeBytes, initializedBytes, flags };
}

function runsOf(stream: Stream | undefined, otherwise: readonly Run[]): readonly Run[] {
  return stream && !stream.value ? stream.runs : otherwise;
}
