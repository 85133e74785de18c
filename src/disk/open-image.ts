import { HvError } from '../errors/index.ts';
import type { DiskImage } from '../formats/disk-image.ts';
import type { ChangeTracker } from '../formats/rct/index.ts';
import { hasVhdSignature, VhdImage } from '../formats/vhd/index.ts';
import { hasVhdxSignature, VhdxImage } from '../formats/vhdx/index.ts';
import type { ByteStore } from '../store/index.ts';
import { hostRun } from './open-file.ts';
import { openTracker } from './open-tracker.ts';

export interface OpenImageOptions {
  readonly readOnly: boolean;
  /** What the caller knows the file to be. Default: what its signature says. */
  readonly format?: DiskImage['format'] | undefined;
  /** Of a VHDX file, in place of one that is opened for it; the image closes it. */
  readonly tracker?: ChangeTracker | undefined;
}

/**
 * Opens an image of a format that has blocks. What carries no signature of one is refused, never taken for raw. On
 * failure the store stays the caller's.
 * @throws HvError `corrupt` (no file of the format that it is said to have, too), `unsupported` (none of these formats), `io`
 */
export function openImage(store: ByteStore, options: OpenImageOptions): DiskImage {
  const { readOnly, format } = options;
  const found = format ?? imageFormatOf(store);
  if (found === 'vhdx') return openVhdx(store, readOnly, options.tracker);
  return VhdImage.open(store, { readOnly });
}

/** Which format a file's signature names. @throws HvError `unsupported` (none of them), `io` */
function imageFormatOf(store: ByteStore): DiskImage['format'] {
  if (hasVhdxSignature(store)) return 'vhdx';
  if (hasVhdSignature(store)) return 'vhd';
  throw new HvError('unsupported', `${store.name} is neither a VHDX nor a VHD file`, { detail: { path: store.name } });
}

/** Opens a VHDX file; whoever changes it this way has the changes tracked, where they are. @throws HvError as openImage */
export function openVhdx(store: ByteStore, readOnly: boolean, tracker?: ChangeTracker): VhdxImage {
  const changes = tracker ?? openTracker(store.name, readOnly ? 'read' : 'write');
  try {
    return VhdxImage.open(store, { readOnly, hostRun: hostRun(), changes });
  } catch (error) {
    changes?.close();
    throw error;
  }
}
