import { MAX_REGIONS, MAX_UNITS, NEW_FILE, PAGE_BYTES, UNIT_MAP_OFFSET, UNITS_PER_PAGE } from './format.ts';

/** How a disk is divided: units carry a sequence number, regions of many units a bit. Both powers of two. */
export interface Geometry {
  readonly sizeBytes: number;
  readonly unitBytes: number;
  readonly regionBytes: number;
}

/** For a new file. The units of a large disk are larger, so that the map fits 16 MiB of memory. */
export function geometryFor(sizeBytes: number): Geometry {
  return {
    sizeBytes,
    unitBytes: atLeast(NEW_FILE.unitBytes, sizeBytes / NEW_FILE.maxUnits),
    regionBytes: atLeast(NEW_FILE.regionBytes, sizeBytes / NEW_FILE.maxRegions),
  };
}

function atLeast(start: number, wanted: number): number {
  let size = start;
  while (size < wanted) size *= 2;
  return size;
}

/** Whether a disk that grew still fits the division that its file has. */
export function fits({ unitBytes, regionBytes }: Geometry, sizeBytes: number): boolean {
  return sizeBytes / unitBytes <= MAX_UNITS && sizeBytes / regionBytes <= MAX_REGIONS;
}

export function unitCount({ sizeBytes, unitBytes }: Geometry): number {
  return Math.ceil(sizeBytes / unitBytes);
}

export function regionCount({ sizeBytes, regionBytes }: Geometry): number {
  return Math.ceil(sizeBytes / regionBytes);
}

export function pageCount(geometry: Geometry): number {
  return Math.ceil(unitCount(geometry) / UNITS_PER_PAGE);
}

/** The length of a file with such maps. */
export function mapEnd(geometry: Geometry): number {
  return UNIT_MAP_OFFSET + pageCount(geometry) * PAGE_BYTES;
}
