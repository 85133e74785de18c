import { HvError } from '../errors/index.ts';
import { isWellFormed } from './names.ts';

export const MAX_PAIRS = 64;
export const MAX_VALUE_BYTES = 1024;

/** Names a line of a file in the guest. */
const KEY = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/;

/**
 * Checks a key-value pair that is meant for a guest.
 * @throws HvError `invalid-argument`
 */
export function validPair(key: string, value: string): { readonly key: string; readonly value: string } {
  validKey(key);
  const isOneLine = !/[\p{Cc}\u2028\u2029]/u.test(value) && isWellFormed(value);
  if (!isOneLine || Buffer.byteLength(value) > MAX_VALUE_BYTES) {
    throw new HvError('invalid-argument', `the value of ${key} is not one line of at most ${MAX_VALUE_BYTES} bytes`, {
      detail: { key, maxBytes: MAX_VALUE_BYTES },
      hint: 'Encode what has several lines, or copy a file: hv guest copy.',
    });
  }
  return { key, value };
}

export function isPairKey(key: string): boolean {
  return KEY.test(key);
}

/** @throws HvError `invalid-argument` */
export function validKey(key: string): string {
  if (isPairKey(key)) return key;
  const shown = key.slice(0, 60);
  throw new HvError('invalid-argument', `the key ${JSON.stringify(shown)} is not possible`, {
    detail: { key: shown },
    hint: 'Use letters, digits, dots, dashes and underscores, at most 255.',
  });
}
