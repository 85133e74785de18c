import { type Geometry, MAX_CYLINDERS, MAX_HEADS, MAX_SECTORS_PER_TRACK, SECTOR } from './format.ts';

/** The largest disk whose geometry has 63 sectors a track. */
const MAX_SECTORS_63 = MAX_CYLINDERS * MAX_HEADS * 63;
const MAX_SECTORS = MAX_CYLINDERS * MAX_HEADS * MAX_SECTORS_PER_TRACK;

/** The geometry that the specification's appendix gives to a disk of a size; it may cover less than the disk. */
export function geometryOf(sizeBytes: number): Geometry {
  const total = Math.min(Math.floor(sizeBytes / SECTOR), MAX_SECTORS);
  if (total >= MAX_SECTORS_63) return withHeads(total, MAX_HEADS, MAX_SECTORS_PER_TRACK);
  let sectorsPerTrack = 17;
  let cylinderHeads = Math.floor(total / sectorsPerTrack);
  let heads = Math.max(4, Math.ceil(cylinderHeads / 1024));
  if (cylinderHeads >= heads * 1024 || heads > MAX_HEADS) {
    sectorsPerTrack = 31;
    heads = MAX_HEADS;
    cylinderHeads = Math.floor(total / sectorsPerTrack);
  }
  if (cylinderHeads >= heads * 1024) {
    sectorsPerTrack = 63;
    heads = MAX_HEADS;
  }
  return withHeads(total, heads, sectorsPerTrack);
}

/** What a geometry covers. */
export function geometryBytes({ cylinders, heads, sectorsPerTrack }: Geometry): number {
  return cylinders * heads * sectorsPerTrack * SECTOR;
}

/** Whether a geometry is the largest there is: then it says nothing about the size. */
export function isLargestGeometry(geometry: Geometry): boolean {
  return geometryBytes(geometry) >= MAX_SECTORS * SECTOR;
}

function withHeads(total: number, heads: number, sectorsPerTrack: number): Geometry {
  return { cylinders: Math.floor(Math.floor(total / sectorsPerTrack) / heads), heads, sectorsPerTrack };
}
