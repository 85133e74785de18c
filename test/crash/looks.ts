import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openVhd, vhdInfo } from '../../src/disk/index.ts';

export const MIB = 2 ** 20;

/** The size of a disk and a digest of what it reads as; undefined where no such file is. */
export async function diskAt(path: string, allowParents: readonly string[] = []): Promise<string | undefined> {
  if (!existsSync(path)) return undefined;
  const disk = await openVhd(path, { readOnly: true, allowParents });
  try {
    const bytes = Buffer.alloc(disk.sizeBytes);
    disk.read(0, bytes, 0, bytes.length);
    return `${disk.sizeBytes} ${createHash('sha1').update(bytes).digest('hex')}`;
  } finally {
    await disk.close();
  }
}

/** The same with what the file is; never an id that is made anew each time. */
export async function fileAt(path: string): Promise<unknown> {
  if (!existsSync(path)) return undefined;
  const { type, format, blockSizeBytes, physicalSectorSizeBytes, parentPath } = await vhdInfo(path);
  return { type, format, blockSizeBytes, physicalSectorSizeBytes, parentPath, disk: await diskAt(path) };
}

/** Writes runs of bytes into a disk. */
export async function fill(
  path: string,
  ...runs: readonly (readonly [offset: number, length: number, value: number])[]
): Promise<void> {
  const disk = await openVhd(path);
  for (const [offset, length, value] of runs) disk.write(offset, new Uint8Array(length).fill(value), 0, length);
  await disk.close();
}

export function inFolder(folder: string): (name: string) => string {
  return (name) => join(folder, name);
}
