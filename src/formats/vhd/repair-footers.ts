import { roundDown, roundUp } from '../../binary/index.ts';
import type { ByteStore } from '../../store/index.ts';
import { findFooters } from './footer.ts';
import { FOOTER_BYTES, SECTOR } from './format.ts';

/**
 * Makes both footers of a dynamic or differencing file the one that counts. The damaged one is written while the other
 * is whole.
 * @param endOffset everything else in the file ends before this @throws HvError `io`, `no-space`
 */
export function repairFooters(store: ByteStore, bytes: Uint8Array, endOffset: number): void {
  const { leading, trailing, trailingOffset } = findFooters(store);
  if (!trailing) {
    const at = trailingOffset >= endOffset ? roundDown(trailingOffset, SECTOR) : roundUp(endOffset, SECTOR);
    store.write(at, bytes, 0, FOOTER_BYTES);
    if (store.size() > at + FOOTER_BYTES) store.setSize(at + FOOTER_BYTES);
    store.flushSync();
  }
  if (!leading || Buffer.compare(leading, bytes) !== 0) store.write(0, bytes, 0, FOOTER_BYTES);
}
