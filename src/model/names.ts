import { HvError } from '../errors/index.ts';

export const MAX_NAME_LENGTH = 100;

/** C0, DEL, C1; the bidirectional embeddings, overrides, isolates and marks; line and paragraph separators. */
const FORBIDDEN = /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/u;

/**
 * Checks and normalises (NFC) a name that a person gave to a virtual machine, snapshot or switch.
 * Spaces, quotes and every script are legal; what would break a path or a terminal is not.
 * @throws HvError `invalid-argument`
 */
export function validName(value: string, what = 'name'): string {
  const refuse = (why: string): never => {
    throw new HvError('invalid-argument', `the ${what} ${JSON.stringify(value.slice(0, MAX_NAME_LENGTH))} ${why}`, {
      detail: { what, value: value.slice(0, MAX_NAME_LENGTH) },
      hint: `Use 1 to ${MAX_NAME_LENGTH} characters without /, \\ or control characters.`,
    });
  };
  if (!isWellFormed(value)) refuse('holds half a character (a lone surrogate)');
  const name = value.normalize('NFC');
  if (name.trim() === '') refuse('is empty');
  if ([...name].length > MAX_NAME_LENGTH) refuse(`is longer than ${MAX_NAME_LENGTH} characters`);
  if (name === '.' || name === '..') refuse('is a name of a folder');
  if (/[/\\]/.test(name)) refuse('holds a slash');
  if (FORBIDDEN.test(name)) refuse('holds control characters');
  return name;
}

/** Two names are the same name when this is equal: case does not tell them apart. */
export function nameKey(name: string): string {
  return name.normalize('NFKC').toLowerCase().normalize('NFC');
}

/** Without a lone surrogate. */
export function isWellFormed(value: string): boolean {
  return !/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/.test(value);
}
