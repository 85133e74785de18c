import { extname } from 'node:path';
import { HvError } from '../errors/index.ts';

export type DiskFormat = 'vhdx' | 'vhd' | 'raw';

const FORMAT_BY_ENDING: Readonly<Record<string, DiskFormat>> = {
  '.vhdx': 'vhdx',
  '.avhdx': 'vhdx',
  '.raw': 'raw',
  '.img': 'raw',
  '.vhd': 'vhd',
  '.avhd': 'vhd',
};

/** A VHD Set names the disk file that it has now: it is opened in its place. */
export function isVhdSet(path: string, said?: DiskFormat): boolean {
  return said === undefined && extname(path).toLowerCase() === '.vhds';
}

/** The format of a path: said, or by its ending. @throws HvError `unsupported` */
export function formatOf(path: string, said?: DiskFormat): DiskFormat {
  const ending = extname(path).toLowerCase();
  const format = said ?? FORMAT_BY_ENDING[ending];
  if (format === undefined && ending === '.vhds') {
    throw new HvError('unsupported', `${path} is a VHD Set, and this is done to one file`, {
      detail: { path, ending },
      hint: `Name the disk file that it has now, or another one of its files: hv vhdset info ${path}`,
    });
  }
  if (format === undefined) {
    throw new HvError(
      'unsupported',
      `${path}: the ending ${ending === '' ? '(none)' : ending} names no disk format that hv knows`,
      {
        detail: { path, ending },
        hint: 'Use the ending .vhdx or .vhd, or say the format with --format.',
      },
    );
  }
  return format;
}
