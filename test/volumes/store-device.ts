import type { BlockDevice } from '../../src/disk/index.ts';
import type { ByteStore } from '../../src/store/index.ts';

/** As much of a device as moving a table needs, on a store. */
export function deviceOn(store: ByteStore): BlockDevice {
  return {
    sizeBytes: store.size(),
    logicalSectorSizeBytes: 512,
    physicalSectorSizeBytes: 512,
    readOnly: false,
    read: (offset, target, start, length) => store.read(offset, target, start, length),
    write: (offset, source, start, length) => store.write(offset, source, start, length),
    writeZeroes: (offset, length) => store.write(offset, new Uint8Array(length), 0, length),
    trim: () => {},
    flush: () => store.flush(),
    extents: (offset, length) => [{ offset, length, kind: 'data', depth: 0 }],
    resolveRead: () => [],
    close: async () => {},
  };
}
