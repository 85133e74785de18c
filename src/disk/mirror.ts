import type { LongOptions } from '../async/index.ts';
import { HvError } from '../errors/index.ts';

export interface BreakMirrorOptions extends Pick<LongOptions, 'signal'> {
  /** Go on with the mirror instead of the disk's own file. */
  readonly switchToMirror?: boolean | undefined;
}

export interface BrokenMirror {
  /** The file that was the mirror. */
  readonly mirrorPath: string;
  /** The file that the machine uses from now on. */
  readonly path: string;
}

/** A mirror follows whoever writes: a disk that no machine has is copied instead. */
export function noDriveOf(path: string): HvError {
  return new HvError('invalid-state', `${path} is no disk of a machine, so that nothing writes to it`, {
    detail: { path },
    hint: 'Copy it with: hv vhd convert',
  });
}
