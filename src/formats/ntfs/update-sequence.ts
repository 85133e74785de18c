import { corrupt } from './corruption.ts';
import { RECORD_AT, UPDATE_STRIDE } from './format.ts';

/**
 * Checks the magic of a structure that is written in several sectors, and puts back the two bytes at the end of each
 * that were kept aside. Changes `bytes`. @throws HvError `corrupt`
 */
export function applyUpdateSequence(bytes: Uint8Array, magic: string, offset: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (Buffer.from(bytes.subarray(0, 4)).toString('latin1') !== magic) {
    throw corrupt('record-magic', offset, view.getUint32(RECORD_AT.magic, true));
  }
  const start = view.getUint16(RECORD_AT.updateOffset, true);
  const count = view.getUint16(RECORD_AT.updateCount, true);
  const isSound =
    start % 2 === 0 &&
    start >= 8 &&
    count === bytes.length / UPDATE_STRIDE + 1 &&
    start + count * 2 <= UPDATE_STRIDE - 2;
  if (!isSound) throw corrupt('update-sequence', offset + RECORD_AT.updateOffset, start);
  const mark = view.getUint16(start, true);
  for (let index = 1; index < count; index++) {
    const at = index * UPDATE_STRIDE - 2;
    if (view.getUint16(at, true) !== mark) throw corrupt('update-sequence', offset + at, view.getUint16(at, true));
    view.setUint16(at, view.getUint16(start + index * 2, true), true);
  }
}
