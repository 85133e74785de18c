import { HvError } from '../errors/index.ts';
import type { VhdxImage } from '../formats/vhdx/index.ts';
import { formatOf } from './disk-format.ts';
import { openImageFile } from './open-file.ts';
import { openVhdx } from './open-image.ts';

/** One user metadata item of a VHDX file. */
export interface UserMetadataItem {
  readonly id: string;
  readonly lengthBytes: number;
}

/**
 * Lists the user metadata items of a VHDX file, in the order of its table. Windows: EnumerateVirtualDiskMetadata.
 * @throws HvError `unsupported` (another format has none), `not-found`, `in-use`, `corrupt`, `io`
 */
export async function listUserMetadata(path: string): Promise<UserMetadataItem[]> {
  return withImage(path, true, (image) => [...image.userItems]);
}

/**
 * Reads a user metadata item. Windows: GetVirtualDiskMetadata.
 * @throws HvError `not-found` (the file or the item), `invalid-argument` (no GUID), and as listUserMetadata
 */
export async function getUserMetadata(path: string, id: string): Promise<Uint8Array> {
  return withImage(path, true, (image) => image.readUserItem(id));
}

/**
 * Sets a user metadata item of at most 1 MiB, a new one or one that is there; a file has at most 1,024. At every moment
 * the file holds the old item or the new. The contents of the disk count as changed, as the format says: a file with
 * children is no place for it. Windows: SetVirtualDiskMetadata.
 * @throws HvError `invalid-argument` (no GUID, too long), `unsupported` (too many), `no-space`, and as listUserMetadata
 */
export async function setUserMetadata(path: string, id: string, bytes: Uint8Array): Promise<void> {
  await withImage(path, false, (image) => image.setUserItem(id, bytes));
}

/**
 * Deletes a user metadata item. Windows: DeleteVirtualDiskMetadata.
 * @throws HvError `not-found` (the file or the item), `invalid-argument` (no GUID), and as listUserMetadata
 */
export async function deleteUserMetadata(path: string, id: string): Promise<void> {
  await withImage(path, false, (image) => image.deleteUserItem(id));
}

async function withImage<T>(path: string, readOnly: boolean, use: (image: VhdxImage) => T): Promise<T> {
  if (formatOf(path) !== 'vhdx') {
    throw new HvError('unsupported', `${path} is not a VHDX file, which alone carries metadata of users`, {
      detail: { path },
    });
  }
  const { store } = openImageFile(path, { access: readOnly ? 'read' : 'write' });
  let image: VhdxImage;
  try {
    image = openVhdx(store, readOnly);
  } catch (error) {
    store.close();
    throw error;
  }
  try {
    return use(image);
  } finally {
    await image.close();
  }
}
