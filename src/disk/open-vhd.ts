import { throwIfAborted } from '../async/index.ts';
import { HvError } from '../errors/index.ts';
import { DiskChain } from './disk-chain.ts';
import { type DiskFormat, formatOf, isVhdSet } from './disk-format.ts';
import { openImageChain } from './open-chain.ts';
import { openImageFile } from './open-file.ts';
import { openPhysicalDisk } from './physical-disk.ts';
import { RawDisk } from './raw-disk.ts';
import { lockVhdSetLeaf } from './vhd-set-store.ts';

export interface OpenVhdOptions {
  readonly readOnly?: boolean | undefined;
  /** Default: what the name's ending says. A file is never guessed to be raw. */
  readonly format?: DiskFormat | undefined;
  /** Folders or files outside of a child's own folder where parents may lie. */
  readonly allowParents?: readonly string[] | undefined;
  /** Parents that may be merged into later, while the disk is open: these files, and what lies in these folders. */
  readonly mergeable?: readonly string[] | undefined;
  /** It is a block device of the host: opened raw, and for nobody else. */
  readonly isPhysical?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A virtual disk that openVhd opened: a chain of image files, or a raw file. */
export type OpenDisk = DiskChain | RawDisk;

/**
 * Opens a virtual disk, with all its parents, for reading and writing unless told otherwise. Of a VHD Set (`.vhds`), the
 * disk that it has now.
 * @throws HvError `not-found`, `permission-denied`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `invalid-argument`, `io`, `aborted`
 */
export async function openVhd(path: string, options: OpenVhdOptions = {}): Promise<OpenDisk> {
  throwIfAborted(options.signal, 'opening the disk');
  if (options.isPhysical === true) return openPhysicalDisk(path, options);
  if (!isVhdSet(path, options.format) && formatOf(path, options.format) === 'raw') {
    const access = options.readOnly ? 'read' : 'write';
    return new RawDisk(openImageFile(path, { access }).store);
  }
  return openChain(path, options);
}

/** openVhd for what has layers and can have children: anything but raw. @throws HvError as openVhd */
export function openChain(path: string, options: OpenVhdOptions = {}): DiskChain {
  if (isVhdSet(path, options.format)) return openSetLeaf(path, options);
  const format = formatOf(path, options.format);
  if (format === 'raw') {
    throw new HvError('unsupported', `${path} is a raw file, which can have no parents and no children`, {
      detail: { path },
    });
  }
  const { readOnly = false, allowParents = [], mergeable, signal } = options;
  return new DiskChain(openImageChain(path, { format, readOnly, allowParents, mergeable, signal }));
}

/** The set stays locked until its disk is: nobody makes another file the leaf in between. */
function openSetLeaf(path: string, options: OpenVhdOptions): DiskChain {
  const leaf = lockVhdSetLeaf(path, options);
  try {
    return openChain(leaf.path, { ...options, format: 'vhdx', allowParents: leaf.allowParents });
  } finally {
    leaf.release();
  }
}
