/**
 * store: random access bytes under every format, synchronous but for flush (see byte-store.ts).
 *
 *     formats, disk -> ByteStore <- FileStore (a file) | MemoryStore | SliceStore (a part of another)
 *
 * Test doubles that record, fail, fill up, tear and die are in testing/, each imported by its own file.
 * Must not import formats or anything above; system only.
 */
export type { ByteStore } from './byte-store.ts';
export { FileStore, type FileStoreOptions } from './file-store.ts';
export { MemoryStore } from './memory-store.ts';
export { SliceStore } from './slice-store.ts';
