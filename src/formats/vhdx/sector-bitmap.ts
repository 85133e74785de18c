import { type MetadataCache, type MetadataPage, PAGE_BYTES } from './metadata-cache.ts';

const BITS_PER_PAGE = PAGE_BYTES * 8;

/** A change of bits in memory: the pages to log, and the way back when that fails. */
export interface BitChange {
  readonly pages: readonly MetadataPage[];
  undo(): void;
}

/** How many pages of a sector bitmap hold the bits of a range. */
export function countBitPages(firstBit: number, count: number): number {
  return Math.floor((firstBit + count - 1) / BITS_PER_PAGE) - Math.floor(firstBit / BITS_PER_PAGE) + 1;
}

/** The run of equal bits that begins at `firstBit`, at most `count` long: positive when set, negative when clear. Bit 0 is the lowest. */
export function readBitRun(cache: MetadataCache, bitmapOffset: number, firstBit: number, count: number): number {
  let pageNumber = Math.floor(firstBit / BITS_PER_PAGE);
  let page = cache.page(bitmapOffset + pageNumber * PAGE_BYTES);
  let inPage = firstBit - pageNumber * BITS_PER_PAGE;
  const isSet = ((page.words[inPage >> 5] as number) >>> (inPage & 31)) & 1; // inPage is within the page
  const uniform = isSet ? 0xffffffff : 0;
  let length = 0;
  while (length < count) {
    if (inPage === BITS_PER_PAGE) {
      page = cache.page(bitmapOffset + ++pageNumber * PAGE_BYTES);
      inPage = 0;
    }
    const word = page.words[inPage >> 5] as number;
    if ((inPage & 31) === 0 && word === uniform) {
      length += 32;
      inPage += 32;
    } else if (((word >>> (inPage & 31)) & 1) === isSet) {
      length++;
      inPage++;
    } else {
      break;
    }
  }
  length = Math.min(length, count);
  return isSet ? length : -length;
}

export function setBits(cache: MetadataCache, bitmapOffset: number, firstBit: number, count: number): BitChange {
  return changeBits(cache, bitmapOffset, firstBit, count, true);
}

export function clearBits(cache: MetadataCache, bitmapOffset: number, firstBit: number, count: number): BitChange {
  return changeBits(cache, bitmapOffset, firstBit, count, false);
}

function changeBits(
  cache: MetadataCache,
  bitmapOffset: number,
  firstBit: number,
  count: number,
  value: boolean,
): BitChange {
  const changed: { readonly page: MetadataPage; readonly before: Uint32Array }[] = [];
  const end = firstBit + count;
  for (let bit = firstBit; bit < end; ) {
    const pageNumber = Math.floor(bit / BITS_PER_PAGE);
    const page = cache.page(bitmapOffset + pageNumber * PAGE_BYTES);
    changed.push({ page, before: page.words.slice() });
    const inPage = bit - pageNumber * BITS_PER_PAGE;
    const inPageEnd = Math.min(BITS_PER_PAGE, end - pageNumber * BITS_PER_PAGE);
    fillBits(page.words, inPage, inPageEnd, value);
    bit += inPageEnd - inPage;
  }
  return {
    pages: changed.map(({ page }) => page),
    undo: () => {
      for (const { page, before } of changed) page.words.set(before);
    },
  };
}

function fillBits(words: Uint32Array, start: number, end: number, value: boolean): void {
  for (let bit = start; bit < end; ) {
    const index = bit >> 5;
    if ((bit & 31) === 0 && end - bit >= 32) {
      words[index] = value ? 0xffffffff : 0;
      bit += 32;
    } else {
      const mask = 1 << (bit & 31);
      words[index] = value ? (words[index] as number) | mask : (words[index] as number) & ~mask;
      bit++;
    }
  }
}
