import { resolve } from 'node:path';
import { HvError } from '../../errors/index.ts';

/** A path as the user sees it from the present folder, made absolute. @throws HvError `invalid-argument` */
export function parsePath(text: string): string {
  if (text === '') {
    throw new HvError('invalid-argument', 'the path is empty', {
      detail: { what: 'path', value: text },
      hint: 'Name a file or folder, as in ./disk.vhdx.',
    });
  }
  return resolve(text);
}
