import { HvError } from '../errors/index.ts';
import { createVhdImage, type NewVhd, validateNewVhd } from '../formats/vhd/index.ts';
import { createVhdx, type NewVhdx, validateNewVhdx } from '../formats/vhdx/index.ts';
import type { ByteStore, FileStore } from '../store/index.ts';
import { failureOf, NewFile } from './new-file.ts';
import type { OpenFile } from './open-file.ts';

export { syncFolder } from './new-file.ts';

/** A disk file that is to be made, in the terms of its format. */
export type NewImage =
  | { readonly format: 'vhdx'; readonly spec: NewVhdx }
  | { readonly format: 'vhd'; readonly spec: NewVhd }
  | {
      readonly format: 'raw';
      readonly spec: { readonly type: 'fixed' | 'dynamic'; readonly virtualSizeBytes: number };
    };

/** Refuses sizes that the format does not have. @throws HvError `invalid-argument` */
export function checkedImage(image: NewImage): NewImage {
  if (image.format === 'vhdx') {
    validateNewVhdx(image.spec);
    return image;
  }
  if (image.format === 'vhd') {
    validateNewVhd(image.spec);
    return image;
  }
  const { virtualSizeBytes } = image.spec;
  if (Number.isSafeInteger(virtualSizeBytes) && virtualSizeBytes > 0 && virtualSizeBytes % 512 === 0) return image;
  throw new HvError(
    'invalid-argument',
    `the size of a disk must be a positive multiple of 512 bytes; ${virtualSizeBytes} is not`,
  );
}

/**
 * Makes a disk file: whole and durable under its name, or not there at all. It is written under a temporary name in the
 * same folder and then given its own, which never replaces a file. Returned open for writing, and locked.
 * @throws HvError `already-exists`, `not-found` (the folder), `permission-denied`, `no-space`, `invalid-argument`, `io`
 */
export function createImageFile(path: string, image: NewImage): OpenFile {
  checkedImage(image);
  return createFile(path, (store) => writeNewImage(store, image));
}

/** Writes a new, empty image into an empty store. The caller flushes. @throws HvError `no-space`, `invalid-argument`, `io` */
export function writeNewImage(store: ByteStore, image: NewImage): void {
  if (image.format === 'vhdx') {
    createVhdx(store, image.spec);
    return;
  }
  if (image.format === 'vhd') {
    createVhdImage(store, image.spec);
    return;
  }
  const { type, virtualSizeBytes } = image.spec;
  store.setSize(virtualSizeBytes);
  if (type === 'fixed') store.allocate(0, virtualSizeBytes);
}

/** The same for any contents that `fill` writes. */
export function createFile(path: string, fill: (store: FileStore) => void): OpenFile {
  const file = new NewFile(path);
  try {
    fill(file.store);
    return file.publish();
  } catch (error) {
    file.discard();
    throw failureOf(file.path, error);
  }
}
