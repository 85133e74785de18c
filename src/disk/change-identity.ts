import { HvError } from '../errors/index.ts';
import { VhdxImage } from '../formats/vhdx/index.ts';
import { formatOf } from './disk-format.ts';
import { openImageFile } from './open-file.ts';
import { openImage } from './open-image.ts';

/** What a disk file says of itself and may be told to say otherwise; at least one. */
export interface IdentityChange {
  /** The virtual disk's id of a VHDX, the unique id of a VHD. Windows: SET_VIRTUAL_DISK_INFO_VIRTUAL_DISK_ID, _IDENTIFIER. */
  readonly virtualDiskId?: string | undefined;
  /** Of a VHDX: 512 or 4096. Windows: SET_VIRTUAL_DISK_INFO_PHYSICAL_SECTOR_SIZE. */
  readonly physicalSectorSizeBytes?: number | undefined;
}

/**
 * Changes what a disk file says of itself, each as one and durable. Its contents stay, and yet count as changed: a child
 * that was made from it does not know it any more. Windows: SetVirtualDiskInformation.
 * @throws HvError `invalid-argument` (no GUID, no sector size, nothing to change), `unsupported` (the format has no such
 *   thing), `in-use`, `not-found`, `corrupt`, `no-space`, `io`
 */
export async function changeIdentity(path: string, change: IdentityChange): Promise<void> {
  const { virtualDiskId, physicalSectorSizeBytes } = change;
  if (virtualDiskId === undefined && physicalSectorSizeBytes === undefined) {
    throw new HvError('invalid-argument', `nothing of ${path} is to be changed`, { detail: { path } });
  }
  const format = formatOf(path);
  if (format === 'raw') {
    throw new HvError('unsupported', `${path} is a raw file, which says nothing of itself`, { detail: { path } });
  }
  const { store } = openImageFile(path, { access: 'write' });
  let image: ReturnType<typeof openImage>;
  try {
    image = openImage(store, { readOnly: false, format });
  } catch (error) {
    store.close();
    throw error;
  }
  try {
    if (physicalSectorSizeBytes !== undefined && !(image instanceof VhdxImage)) {
      throw new HvError('unsupported', `${path} is a VHD file, whose physical sectors have 512 bytes always`, {
        detail: { path },
      });
    }
    if (physicalSectorSizeBytes !== undefined && image instanceof VhdxImage) {
      image.changePhysicalSectorSize(physicalSectorSizeBytes);
    }
    if (virtualDiskId !== undefined) image.changeVirtualDiskId(virtualDiskId);
  } finally {
    await image.close();
  }
}
