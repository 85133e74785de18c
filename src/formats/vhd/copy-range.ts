import type { ByteStore } from '../../store/index.ts';
import { ZEROS } from './vhd-body.ts';

/** What is copied at once, and the unit in which zeros stay holes. */
const PIECE_BYTES = 256 * 1024;

/** Copies what is not zero into a range that is. */
export function copyRange(store: ByteStore, from: number, to: number, length: number): void {
  const buffer = new Uint8Array(Math.min(length, PIECE_BYTES));
  for (let done = 0; done < length; done += buffer.length) {
    const count = Math.min(buffer.length, length - done);
    store.read(from + done, buffer, 0, count);
    if (Buffer.compare(buffer.subarray(0, count), ZEROS.subarray(0, count)) === 0) continue;
    store.write(to + done, buffer, 0, count);
  }
}
