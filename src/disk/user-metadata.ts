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
  const image = openFile(path, true);
  try {
    return image.metadata.items
      .filter(({ isUser }) => isUser)
      .map(({ itemId, length }) => ({ id: itemId, lengthBytes: length }));
  } finally {
    await image.close();
  }
}

function openFile(path: string, readOnly: boolean): VhdxImage {
  if (formatOf(path) !== 'vhdx') {
    throw new HvError('unsupported', `${path} is not a VHDX file, which alone carries metadata of users`, {
      detail: { path },
    });
  }
  const { store } = openImageFile(path, { access: readOnly ? 'read' : 'write' });
  try {
    return openVhdx(store, readOnly);
  } catch (error) {
    store.close();
    throw error;
  }
}
