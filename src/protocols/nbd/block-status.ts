import type { BlockDevice, Extent } from '../../disk/block-device.ts';
import { StatusFlag } from './wire.ts';

/** More are not reported in one reply; the client asks again from where the reply ends. */
const MAX_DESCRIPTORS = 4096;
/** Bounds the walk where thousands of small extents merge into one descriptor. */
const MAX_EXTENTS_WALKED = 65_536;

/** Pairs of (length, flags), as the base:allocation context describes a range. */
export interface StatusDescriptor {
  lengthBytes: number;
  readonly flags: number;
}

/** Describes [offset, offset+length) or its beginning: never nothing, never more than was asked for. */
export function describeAllocation(
  device: BlockDevice,
  offset: number,
  length: number,
  onlyOne: boolean,
): readonly StatusDescriptor[] {
  const descriptors: StatusDescriptor[] = [];
  let last: StatusDescriptor | undefined;
  let walked = 0;
  for (const extent of device.extents(offset, length)) {
    const flags = flagsOf(extent);
    if (last && last.flags === flags) last.lengthBytes += extent.length;
    else {
      if (descriptors.length === (onlyOne ? 1 : MAX_DESCRIPTORS)) break;
      last = { lengthBytes: extent.length, flags };
      descriptors.push(last);
    }
    if (++walked === MAX_EXTENTS_WALKED) break;
  }
  return descriptors;
}

function flagsOf(extent: Extent): number {
  switch (extent.kind) {
    case 'data':
      return 0;
    case 'zero':
      return StatusFlag.zero;
    case 'hole':
      return StatusFlag.hole | StatusFlag.zero;
  }
}
