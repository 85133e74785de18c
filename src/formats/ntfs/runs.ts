import { corrupt } from './corruption.ts';

/** Clusters that follow each other; `cluster` -1: a hole. */
export interface Run {
  readonly cluster: number;
  readonly count: number;
}

/**
 * Decodes mapping pairs: each a byte that gives the widths of two little-endian numbers, a count, and the signed
 * distance from the start of the run before; no distance is a hole.
 * @throws HvError `corrupt`: no end, or a run outside of the volume
 */
export function decodeRuns(bytes: Uint8Array, offset: number, clusters: number): Run[] {
  const runs: Run[] = [];
  let cluster = 0n;
  let total = 0;
  for (let at = 0; ; ) {
    const widths = bytes[at];
    if (widths === undefined) throw corrupt('runs-bounds', offset + at, bytes.length);
    if (widths === 0) return runs;
    const countWidth = widths & 0xf;
    const distanceWidth = widths >> 4;
    const end = at + 1 + countWidth + distanceWidth;
    if (countWidth === 0 || countWidth > 8 || distanceWidth > 8 || end > bytes.length) {
      throw corrupt('runs-bounds', offset + at, widths);
    }
    const count = signedAt(bytes, at + 1, countWidth);
    total += Number(count);
    if (count <= 0n || count > BigInt(Number.MAX_SAFE_INTEGER) || total > Number.MAX_SAFE_INTEGER) {
      throw corrupt('runs-bounds', offset + at, count);
    }
    if (distanceWidth === 0) {
      runs.push({ cluster: -1, count: Number(count) });
    } else {
      cluster += signedAt(bytes, at + 1 + countWidth, distanceWidth);
      if (cluster < 0n || cluster + count > BigInt(clusters)) throw corrupt('runs-bounds', offset + at, cluster);
      runs.push({ cluster: Number(cluster), count: Number(count) });
    }
    at = end;
  }
}

function signedAt(bytes: Uint8Array, at: number, width: number): bigint {
  let value = 0n;
  for (let index = 0; index < width; index++) value |= BigInt(bytes[at + index] ?? 0) << BigInt(8 * index);
  return BigInt.asIntN(8 * width, value);
}
