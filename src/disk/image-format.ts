import { extname } from 'node:path';
import { type DiskFormat, formatOf } from './disk-format.ts';

/** Formats of other virtual machine programs, which hv makes itself and reads through qemu-img. */
export const FOREIGN_FORMATS = ['qcow2', 'vmdk', 'vdi'] as const;
export type ForeignFormat = (typeof FOREIGN_FORMATS)[number];

/** Every format that a disk can be copied from and to. */
export type ImageFormat = DiskFormat | ForeignFormat;

export function isForeign(format: ImageFormat): format is ForeignFormat {
  return FOREIGN_FORMATS.some((foreign) => foreign === format);
}

/** The format of a path: said, or by its ending; never by what is in the file. @throws HvError `unsupported` */
export function imageFormatOf(path: string, said?: ImageFormat): ImageFormat {
  const ending = extname(path).toLowerCase().slice(1);
  const named = said ?? FOREIGN_FORMATS.find((format) => format === ending);
  return named !== undefined && isForeign(named) ? named : formatOf(path, named);
}
