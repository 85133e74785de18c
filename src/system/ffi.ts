import { nativeLibc } from '../native/index.ts';

/** Whether calls into the C library are possible here; without them hv falls back to plain ways. */
export function hasFfi(): boolean {
  return nativeLibc() !== undefined;
}
