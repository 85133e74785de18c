import { HvError } from '../../errors/index.ts';

/** A whole number of at least 1. @throws HvError `invalid-argument` */
export function parseCount(text: string): number {
  const count = /^[0-9]{1,9}$/.test(text) ? Number(text) : 0;
  if (count >= 1) return count;
  throw new HvError('invalid-argument', `${JSON.stringify(text)} is not a whole number of at least 1`, {
    detail: { what: 'count', value: text },
  });
}
