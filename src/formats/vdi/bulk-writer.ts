import { randomGuid, roundUp, writeGuid } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { BulkPlaces } from '../bulk-places.ts';
import type { BulkTarget } from '../bulk-target.ts';
import {
  VDI_HEADER_AT as AT,
  BLOCK_BYTES,
  BLOCK_ENTRY_BYTES,
  BLOCK_MAP_OFFSET,
  HEADER_BYTES,
  SECTOR,
  VDI_MAGIC,
  VDI_TYPE,
  VDI_VERSION,
} from './format.ts';

/** The map is one table in the file; it is held in parts. */
const BLOCKS_PER_PART = 8192;

/**
 * Starts a new image that grows, in an empty store, to be filled before it is used: header and block map, then the
 * blocks in the order of the questions.
 * @throws HvError `no-space`, `io`
 */
export function startVdi(store: ByteStore, virtualSizeBytes: number): BulkTarget {
  const blockCount = Math.ceil(virtualSizeBytes / BLOCK_BYTES);
  const dataStart = roundUp(BLOCK_MAP_OFFSET + blockCount * BLOCK_ENTRY_BYTES, BLOCK_BYTES);
  const places = new BulkPlaces({
    unitBytes: BLOCK_BYTES,
    dataStart,
    unitsPerTable: BLOCKS_PER_PART,
    maxUnits: blockCount,
  });
  return {
    place: (offset, length) => places.place(offset, length),
    finish() {
      store.setSize(places.end);
      const map = Buffer.alloc(dataStart - BLOCK_MAP_OFFSET);
      map.fill(0xff, 0, blockCount * BLOCK_ENTRY_BYTES);
      for (const [part, numbers] of places.tables()) {
        for (const [index, number] of numbers.entries()) {
          if (number !== 0) map.writeUInt32LE(number - 1, (part * BLOCKS_PER_PART + index) * BLOCK_ENTRY_BYTES);
        }
      }
      store.write(BLOCK_MAP_OFFSET, map, 0, map.length);
      const head = header(virtualSizeBytes, { blockCount, dataStart, allocatedCount: places.count });
      store.write(0, head, 0, head.length);
    },
  };
}

interface Layout {
  readonly blockCount: number;
  readonly dataStart: number;
  readonly allocatedCount: number;
}

function header(sizeBytes: number, { blockCount, dataStart, allocatedCount }: Layout): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  bytes.write('<<< hv VirtualBox disk image >>>\n', AT.text, 'latin1');
  bytes.writeUInt32LE(VDI_MAGIC, AT.magic);
  bytes.writeUInt32LE(VDI_VERSION, AT.version);
  bytes.writeUInt32LE(HEADER_BYTES, AT.headerBytes);
  bytes.writeUInt32LE(VDI_TYPE.dynamic, AT.type);
  bytes.writeUInt32LE(BLOCK_MAP_OFFSET, AT.blockMapOffset);
  bytes.writeUInt32LE(dataStart, AT.dataOffset);
  bytes.writeUInt32LE(SECTOR, AT.sectorBytes);
  bytes.writeBigUInt64LE(BigInt(sizeBytes), AT.size);
  bytes.writeUInt32LE(BLOCK_BYTES, AT.blockBytes);
  bytes.writeUInt32LE(blockCount, AT.blockCount);
  bytes.writeUInt32LE(allocatedCount, AT.allocatedCount);
  writeGuid(bytes, AT.imageId, randomGuid());
  writeGuid(bytes, AT.modificationId, randomGuid());
  return bytes;
}
