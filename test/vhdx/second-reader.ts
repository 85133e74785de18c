import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

// A second reader of VHDX files, written from [MS-VHDX] for the tests and from nothing else: it shares no line with the
// product, is slow and simple, and refuses whatever it does not expect. It reads what neither qemu nor libvhdi does:
// sectors of 4,096 bytes and chains of differencing files.

const KIB = 1024;
const MIB = 1024 * KIB;

export class SecondReader implements Disposable {
  readonly sizeBytes: number;
  readonly sectorBytes: number;
  readonly physicalSectorBytes: number;
  readonly blockBytes: number;
  readonly hasParent: boolean;
  readonly diskId: string;
  readonly dataWriteGuid: string;
  readonly locator: ReadonlyMap<string, string>;
  readonly userItems: ReadonlyMap<string, Buffer>;
  readonly #fd: number;
  readonly #parent: SecondReader | undefined;
  readonly #batAt: number;
  readonly #taken = new Map<number, string>();

  /** @param parent the file that a differencing file stands on */
  constructor(path: string, parent?: SecondReader) {
    this.#fd = openSync(path, 'r');
    this.#parent = parent;
    const fileBytes = fstatSync(this.#fd).size;
    must(fileBytes % MIB === 0, 'the file ends at a whole MiB');
    must(this.#bytes(0, 8).toString('latin1') === 'vhdxfile', 'signature');

    const headers = [64 * KIB, 128 * KIB].map((at) => this.#bytes(at, 4 * KIB));
    for (const header of headers) must(isSealed(header, 'head'), 'both headers are whole in a file that was closed');
    const [a, b] = headers.map((header) => header.readBigUInt64LE(8));
    const header = headers[(a ?? 0n) > (b ?? 0n) ? 0 : 1] ?? Buffer.alloc(0);
    must(header.readUInt16LE(66) === 1 && header.readUInt16LE(64) === 0, 'versions');
    must(guidAt(header, 48) === '00000000-0000-0000-0000-000000000000', 'the log is empty in a file that was closed');
    this.dataWriteGuid = guidAt(header, 32);
    this.#take(0, MIB, 'head');
    this.#take(Number(header.readBigUInt64LE(72)), header.readUInt32LE(68), 'log');

    const tables = [192 * KIB, 256 * KIB].map((at) => this.#bytes(at, 64 * KIB));
    const [table] = tables;
    if (!table || !tables.every((each) => isSealed(each, 'regi') && each.equals(table)))
      throw new Error('region tables');
    const regions = new Map<string, { at: number; bytes: number }>();
    for (let index = 0; index < table.readUInt32LE(8); index++) {
      const entry = table.subarray(16 + index * 32);
      const region = { at: Number(entry.readBigUInt64LE(16)), bytes: entry.readUInt32LE(24) };
      regions.set(guidAt(entry, 0), region);
      this.#take(region.at, region.bytes, 'region');
    }
    const bat = regions.get('2dc27766-f623-4200-9d64-115e9bfd4a08');
    const metadata = regions.get('8b7ca206-4790-4b9a-b8fe-575f050f886e');
    if (!bat || !metadata) throw new Error('regions');
    this.#batAt = bat.at;

    const head = this.#bytes(metadata.at, 64 * KIB);
    must(head.subarray(0, 8).toString('latin1') === 'metadata', 'metadata table');
    const items = new Map<string, Buffer>();
    const userItems = new Map<string, Buffer>();
    for (let index = 0; index < head.readUInt16LE(10); index++) {
      const entry = head.subarray(32 + index * 32);
      const [offset, bytes, flags] = [entry.readUInt32LE(16), entry.readUInt32LE(20), entry.readUInt32LE(24)];
      must(
        bytes === 0 ? offset === 0 : offset >= 64 * KIB && offset + bytes <= metadata.bytes,
        'an item in its region',
      );
      (flags & 1 ? userItems : items).set(guidAt(entry, 0), this.#bytes(metadata.at + offset, bytes));
    }
    this.userItems = userItems;
    const item = (guid: string): Buffer => {
      const found = items.get(guid);
      if (!found) throw new Error(`no item ${guid}`);
      return found;
    };
    const parameters = item('caa16737-fa36-4d43-b3b6-33f0aa44e76b');
    this.blockBytes = parameters.readUInt32LE(0);
    this.hasParent = (parameters.readUInt32LE(4) & 2) !== 0;
    this.sizeBytes = Number(item('2fa54224-cd1b-4876-b211-5dbed83bf4b8').readBigUInt64LE(0));
    this.sectorBytes = item('8141bf1d-a96f-4709-ba47-f233a8faab5f').readUInt32LE(0);
    this.physicalSectorBytes = item('cda348c7-445d-4471-9cc9-e9885251c556').readUInt32LE(0);
    this.diskId = guidAt(item('beca12ab-b2e6-4523-93ef-c309e000c746'), 0);
    this.locator = this.hasParent ? locatorOf(item('a8d35f2d-b30b-454d-abf7-d3d84834ab0c')) : new Map();
    if (this.hasParent) {
      must(this.#parent !== undefined, 'a parent');
      const linkage = `{${this.#parent?.dataWriteGuid}}`;
      must([this.locator.get('parent_linkage'), this.locator.get('parent_linkage2')].includes(linkage), 'linkage');
    }
    this.#judgeTable(bat.bytes, fileBytes);
  }

  /** The disk's bytes, with what the parents hold. */
  read(offset: number, length: number): Buffer {
    const out = Buffer.alloc(length);
    // Sector by sector: what is slow cannot be clever.
    for (let at = offset; at < offset + length; ) {
      const count = Math.min(offset + length - at, this.sectorBytes - (at % this.sectorBytes));
      const place = this.#placeOf(at);
      if (place === 'parent') this.#parent?.readInside(at, count).copy(out, at - offset);
      else if (place !== 'zero') this.#bytes(place, count).copy(out, at - offset);
      at += count;
    }
    return out;
  }

  /** What lies beyond a smaller parent's end is zero. */
  readInside(offset: number, length: number): Buffer {
    const inside = Math.max(0, Math.min(length, this.sizeBytes - offset));
    return Buffer.concat([inside > 0 ? this.read(offset, inside) : Buffer.alloc(0), Buffer.alloc(length - inside)]);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  get #chunkRatio(): number {
    return (2 ** 23 * this.sectorBytes) / this.blockBytes;
  }

  #placeOf(at: number): number | 'parent' | 'zero' {
    const block = Math.floor(at / this.blockBytes);
    const chunk = Math.floor(block / this.#chunkRatio);
    const { state, fileAt } = this.#entry(block + chunk);
    const inBlock = at % this.blockBytes;
    switch (state) {
      case 0:
        return this.hasParent ? 'parent' : 'zero';
      case 1:
      case 2:
      case 3:
        return 'zero';
      case 6:
        return fileAt + inBlock;
      default: {
        const bitmap = this.#entry((chunk + 1) * (this.#chunkRatio + 1) - 1);
        must(state === 7 && this.hasParent && bitmap.state === 6, 'a partly present block');
        const sector = Math.floor(at / this.sectorBytes) % 2 ** 23;
        const byte = this.#bytes(bitmap.fileAt + Math.floor(sector / 8), 1)[0] ?? 0;
        return byte & (1 << (sector % 8)) ? fileAt + inBlock : 'parent';
      }
    }
  }

  #entry(index: number): { readonly state: number; readonly fileAt: number } {
    const entry = this.#bytes(this.#batAt + index * 8, 8).readBigUInt64LE(0);
    must((entry & 0xffff8n) === 0n, 'reserved bits of an entry');
    return { state: Number(entry & 7n), fileAt: Number(entry >> 20n) * MIB };
  }

  /** Every entry that is set points at space of its own. */
  #judgeTable(regionBytes: number, fileBytes: number): void {
    const blocks = Math.ceil(this.sizeBytes / this.blockBytes);
    const entries = this.hasParent
      ? Math.ceil(blocks / this.#chunkRatio) * (this.#chunkRatio + 1)
      : blocks + Math.floor((blocks - 1) / this.#chunkRatio);
    must(entries * 8 <= regionBytes, 'room for the table');
    const table = this.#bytes(this.#batAt, entries * 8);
    for (let index = 0; index < entries; index++) {
      if (table.readBigUInt64LE(index * 8) === 0n) continue;
      const { state, fileAt } = this.#entry(index);
      const isBitmap = (index + 1) % (this.#chunkRatio + 1) === 0;
      must(isBitmap ? state === 6 && this.hasParent : [1, 2, 3, 6, 7].includes(state), 'a state');
      if (state === 2 || (fileAt === 0 && state !== 6 && state !== 7)) continue;
      const bytes = isBitmap ? MIB : this.blockBytes;
      must(fileAt >= MIB && fileAt + bytes <= fileBytes, 'a place in the file');
      this.#take(fileAt, bytes, `entry ${index}`);
    }
  }

  #take(at: number, bytes: number, who: string): void {
    must(at % MIB === 0 && bytes % MIB === 0 && bytes > 0, `${who} at whole MiB`);
    for (let mib = at / MIB; mib < (at + bytes) / MIB; mib++) {
      const other = this.#taken.get(mib);
      if (other !== undefined) throw new Error(`second reader: MiB ${mib} belongs to ${other} and to ${who}`);
      this.#taken.set(mib, who);
    }
  }

  #bytes(at: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    readSync(this.#fd, bytes, 0, length, at);
    return bytes;
  }
}

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`second reader: ${what}`);
}

function guidAt(bytes: Buffer, at: number): string {
  const hex = (from: number, to: number): string => bytes.subarray(at + from, at + to).toString('hex');
  const swapped = (from: number, to: number): string =>
    Buffer.from(bytes.subarray(at + from, at + to))
      .reverse()
      .toString('hex');
  return [swapped(0, 4), swapped(4, 6), swapped(6, 8), hex(8, 10), hex(10, 16)].join('-');
}

function locatorOf(bytes: Buffer): Map<string, string> {
  must(guidAt(bytes, 0) === 'b04aefb7-d19e-4a81-b789-25b8e9445913', 'locator type');
  const pairs = new Map<string, string>();
  for (let index = 0; index < bytes.readUInt16LE(18); index++) {
    const entry = bytes.subarray(20 + index * 12);
    const text = (at: number, length: number): string => bytes.subarray(at, at + length).toString('utf16le');
    pairs.set(text(entry.readUInt32LE(0), entry.readUInt16LE(8)), text(entry.readUInt32LE(4), entry.readUInt16LE(10)));
  }
  return pairs;
}

/** Signature, and a CRC-32C over all of it with its own field as zero. */
function isSealed(bytes: Buffer, signature: string): boolean {
  const copy = Buffer.from(bytes);
  copy.writeUInt32LE(0, 4);
  let crc = 0xffffffff;
  for (const byte of copy) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return bytes.subarray(0, 4).toString('latin1') === signature && (crc ^ 0xffffffff) >>> 0 === bytes.readUInt32LE(4);
}
