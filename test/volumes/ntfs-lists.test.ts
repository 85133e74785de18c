import { readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { openVhd } from '../../src/disk/index.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import { makeVolume, NTFS_KINDS, type VolumeKind } from './file-systems.ts';
import { TemporaryFolder, tool, toolBytes } from './tools.ts';

const CLUSTER = 512;
const RECORD = 1024;
/** A record that every volume keeps and does not use. */
const SPARE = 16;

interface Place {
  readonly mft: number;
  readonly bytes: Buffer;
}

function recordAt({ mft, bytes }: Place, number: number): Buffer {
  return bytes.subarray(mft + number * RECORD, mft + (number + 1) * RECORD);
}

/** Puts the ends of its sectors back in place, or aside again. */
function withoutMarks(record: Buffer): Buffer {
  const copy = Buffer.from(record);
  const at = copy.readUInt16LE(4);
  for (const index of [1, 2]) copy.writeUInt16LE(copy.readUInt16LE(at + index * 2), index * 512 - 2);
  return copy;
}

function withMarks(record: Buffer): Buffer {
  const copy = Buffer.from(record);
  const at = copy.readUInt16LE(4);
  for (const index of [1, 2]) {
    copy.writeUInt16LE(copy.readUInt16LE(index * 512 - 2), at + index * 2);
    copy.writeUInt16LE(copy.readUInt16LE(at), index * 512 - 2);
  }
  return copy;
}

function attributesOf(record: Buffer): Buffer[] {
  const found: Buffer[] = [];
  for (let at = record.readUInt16LE(0x14); record.readUInt32LE(at) !== 0xffffffff; at += record.readUInt32LE(at + 4)) {
    found.push(Buffer.from(record.subarray(at, at + record.readUInt32LE(at + 4))));
  }
  return found;
}

function rebuilt(record: Buffer, attributes: readonly Buffer[]): Buffer {
  const start = record.readUInt16LE(0x14);
  const body = Buffer.concat([...attributes, Buffer.from('ffffffff00000000', 'hex')]);
  const copy = Buffer.alloc(RECORD);
  record.copy(copy, 0, 0, start);
  body.copy(copy, start);
  copy.writeUInt32LE(start + body.length, 0x18);
  return copy;
}

/** A run list of one run. */
function runBytes(cluster: number, count: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes[0] = 0x42;
  bytes.writeUInt16LE(count, 1);
  bytes.writeInt32LE(cluster, 3);
  return bytes;
}

/** A piece of a non-resident attribute: from cluster `first` of the file on, at `cluster` of the volume. */
function piece(attribute: Buffer, first: number, cluster: number, count: number): Buffer {
  const runsAt = attribute.readUInt16LE(0x20);
  const copy = Buffer.concat([attribute.subarray(0, runsAt), runBytes(cluster, count)]);
  copy.writeBigUInt64LE(BigInt(first), 0x10);
  copy.writeBigUInt64LE(BigInt(first + count - 1), 0x18);
  // Sizes stand in the first piece alone.
  if (first > 0) copy.fill(0, 0x28, 0x40);
  const padded = Buffer.concat([copy, Buffer.alloc((8 - (copy.length % 8)) % 8)]);
  padded.writeUInt32LE(padded.length, 4);
  return padded;
}

/** Moves the later half of a system file's contents into a record of its own, and gives the file an attribute list. */
function splitFile(place: Place, number: number): void {
  const record = withoutMarks(recordAt(place, number));
  const attributes = attributesOf(record);
  const data = attributes.find((attribute) => attribute.readUInt32LE(0) === 0x80);
  if (!data) throw new Error('the file has no contents');
  const runs = data.subarray(data.readUInt16LE(0x20));
  const countBytes = (runs[0] ?? 0) & 15;
  const count = runs.readUIntLE(1, countBytes);
  const cluster = runs.readUIntLE(1 + countBytes, (runs[0] ?? 0) >> 4);
  // Records of the table stay whole.
  const kept = Math.floor(count / 4) * 2;
  const pieces = [piece(data, 0, cluster, kept), piece(data, kept, cluster + kept, count - kept)];
  const sequence = record.readUInt16LE(0x10);
  const spare = withoutMarks(recordAt(place, SPARE));
  const entry = (attribute: Buffer, holder: number, holderSequence: number): Buffer => {
    const bytes = Buffer.alloc(0x20);
    bytes.writeUInt32LE(attribute.readUInt32LE(0), 0);
    bytes.writeUInt16LE(0x20, 4);
    bytes[7] = 0x1a;
    if (attribute[8] === 1) bytes.writeBigUInt64LE(attribute.readBigUInt64LE(0x10), 8);
    bytes.writeBigUInt64LE(BigInt(holder) | (BigInt(holderSequence) << 48n), 0x10);
    bytes.writeUInt16LE(attribute.readUInt16LE(0xe), 0x18);
    return bytes;
  };
  const [first, second] = pieces as [Buffer, Buffer];
  const others = attributes.filter((attribute) => attribute !== data);
  const spareSequence = spare.readUInt16LE(0x10);
  const listed = [...others, first].map((attribute) => ({ attribute, bytes: entry(attribute, number, sequence) }));
  listed.push({ attribute: second, bytes: entry(second, SPARE, spareSequence) });
  listed.sort((a, b) => a.attribute.readUInt32LE(0) - b.attribute.readUInt32LE(0));
  const value = Buffer.concat(listed.map(({ bytes }) => bytes));
  const list = Buffer.alloc(0x18 + value.length);
  list.writeUInt32LE(0x20, 0);
  list.writeUInt32LE(list.length, 4);
  list.writeUInt16LE(0x18, 0xa);
  list.writeUInt16LE(0x77, 0xe);
  list.writeUInt32LE(value.length, 0x10);
  list.writeUInt16LE(0x18, 0x14);
  value.copy(list, 0x18);
  const ordered = [...others, first, list].sort((a, b) => a.readUInt32LE(0) - b.readUInt32LE(0));
  withMarks(rebuilt(record, ordered)).copy(recordAt(place, number));

  spare.writeUInt16LE(1, 0x16);
  spare.writeBigUInt64LE(BigInt(number) | (BigInt(sequence) << 48n), 0x20);
  withMarks(rebuilt(spare, [second])).copy(recordAt(place, SPARE));
}

test.each([
  ['the cluster bitmap', 6],
  ['the master file table', 0],
] as const)(
  'NTFS: %s in pieces, described by an attribute list, is read as ntfs-3g reads it',
  async (_title, number) => {
    using folder = new TemporaryFolder();
    const path = folder.file('volume.raw');
    const kind = NTFS_KINDS.find(({ title }) => title === 'NTFS of 512 byte clusters') as VolumeKind; // it is there
    const files = makeVolume(kind, path);
    const state = async (): Promise<unknown> => {
      await using disk = await openVhd(path, { format: 'raw', readOnly: true });
      return findVolumes(disk).map((volume) => ({ ...volume, freeRanges: [...volume.freeRanges()] }));
    };
    const before = await state();
    const bitmap = toolBytes('ntfscat', [path, '$Bitmap']);
    const bytes = readFileSync(path);
    const place = { bytes, mft: Number(bytes.readBigUInt64LE(0x30)) * CLUSTER };
    splitFile(place, number);
    // The table's first record has a copy.
    const mirror = Number(bytes.readBigUInt64LE(0x38)) * CLUSTER;
    if (number === 0) recordAt(place, 0).copy(bytes, mirror);
    writeFileSync(path, bytes);
    // ntfs-3g takes the volume as it is now, and finds the same in it.
    expect(tool('ntfsinfo', ['-i', String(number), path])).toContain('$ATTRIBUTE_LIST');
    expect(toolBytes('ntfscat', [path, '$Bitmap']).equals(bitmap)).toBe(true);
    for (const { name, content } of files) expect(kind.get(path, name).equals(content)).toBe(true);
    expect(await state()).toEqual(before);
    // Without its second piece the file is damaged, not short.
    recordAt(place, SPARE).writeUInt16LE(0, 0x16);
    writeFileSync(path, bytes);
    expect(await state()).toMatchObject([{ state: 'damaged', freeRanges: [] }]);
  },
);
