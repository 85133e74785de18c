import { roundDown } from '../../binary/index.ts';
import type { Journal } from './journal.ts';
import { type MetadataCache, type MetadataPage, PAGE_BYTES } from './metadata-cache.ts';

/** Bytes that are to lie at a place of the file's metadata. */
export interface MetadataChange {
  readonly fileOffset: number;
  readonly bytes: Uint8Array;
}

/**
 * Makes changes of metadata through the log, all of them or none: one entry carries every page that they touch.
 * @returns the entry's number
 * @throws HvError `io`, `no-space`; then nothing has changed, in memory either
 */
export function logChanges(journal: Journal, cache: MetadataCache, changes: readonly MetadataChange[]): number {
  const places = new Set<number>();
  for (const { fileOffset, bytes } of changes) {
    for (let at = roundDown(fileOffset, PAGE_BYTES); at < fileOffset + bytes.length; at += PAGE_BYTES) places.add(at);
  }
  // Before the first page changes in memory: making room writes pages in their place as they are.
  journal.makeRoom(places.size);
  const pages = new Map<number, { readonly page: MetadataPage; readonly before: Uint8Array }>();
  for (const place of places) {
    const page = cache.page(place);
    pages.set(place, { page, before: page.bytes.slice() });
  }
  for (const { fileOffset, bytes } of changes) {
    for (let done = 0; done < bytes.length; ) {
      const at = fileOffset + done;
      const place = roundDown(at, PAGE_BYTES);
      const count = Math.min(bytes.length - done, place + PAGE_BYTES - at);
      pages.get(place)?.page.bytes.set(bytes.subarray(done, done + count), at - place);
      done += count;
    }
  }
  const changed = [...pages.values()].filter(({ page, before }) => Buffer.compare(page.bytes, before) !== 0);
  try {
    return journal.commit(changed.map(({ page }) => page));
  } catch (error) {
    for (const { page, before } of changed) page.bytes.set(before);
    throw error;
  }
}
