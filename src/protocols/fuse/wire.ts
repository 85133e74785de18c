/**
 * The Linux kernel's FUSE protocol (include/uapi/linux/fuse.h), version 7.31: as much of it as a fixed tree of files
 * needs. Little-endian on every architecture that hv runs on. Kernels answer a lower minor version by keeping to it.
 */
export const PROTOCOL = { major: 7, minor: 31 } as const;

export const Op = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  fsync: 20,
  flush: 25,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  fsyncdir: 30,
  interrupt: 36,
  destroy: 38,
  batchForget: 42,
  fallocate: 43,
  lseek: 46,
} as const;

/** struct fuse_in_header: u32 length, u32 opcode, u64 unique, u64 node, u32 uid, u32 gid, u32 pid, u32 padding. */
export const IN_HEADER_BYTES = 40;
export const IN_HEADER = { length: 0, opcode: 4, unique: 8, node: 16 } as const;

/** struct fuse_out_header: u32 length, i32 error (zero or minus an errno), u64 unique. */
export const OUT_HEADER_BYTES = 16;
export const OUT_HEADER = { length: 0, error: 4, unique: 8 } as const;

/** struct fuse_init_in: u32 major @0, u32 minor @4, u32 max_readahead @8, u32 flags @12. */
export const INIT_IN = { major: 0, minor: 4, maxReadahead: 8, flags: 12, bytes: 16 } as const;
/** struct fuse_init_out, 64 bytes since 7.23. */
export const INIT_OUT = {
  major: 0,
  minor: 4,
  maxReadahead: 8,
  flags: 12,
  maxBackground: 16,
  congestionThreshold: 18,
  maxWrite: 20,
  timeGranularity: 24,
  maxPages: 28,
  bytes: 64,
} as const;

/** What INIT agrees on. */
export const InitFlag = { asyncRead: 1 << 0, bigWrites: 1 << 5, asyncDirectIo: 1 << 15, maxPages: 1 << 22 } as const;

/** struct fuse_attr. */
export const ATTR = {
  ino: 0,
  size: 8,
  blocks: 16,
  atime: 24,
  mtime: 32,
  ctime: 40,
  mode: 60,
  nlink: 64,
  uid: 68,
  gid: 72,
  blksize: 80,
  bytes: 88,
} as const;
/** struct fuse_entry_out: u64 node @0, u64 generation @8, u64 entry_valid @16, u64 attr_valid @24, 8 bytes of nanoseconds, attr @40. */
export const ENTRY_OUT = { node: 0, entryValid: 16, attrValid: 24, attr: 40, bytes: 128 } as const;
/** struct fuse_attr_out: u64 attr_valid @0, 8 bytes, attr @16. */
export const ATTR_OUT = { attrValid: 0, attr: 16, bytes: 104 } as const;
/** struct fuse_setattr_in: u32 valid @0, u64 fh @8, u64 size @16, and more that is not taken. */
export const SETATTR_IN = { valid: 0, size: 16, bytes: 88 } as const;
export const SetattrFlag = { mode: 1 << 0, uid: 1 << 1, gid: 1 << 2, size: 1 << 3 } as const;

/** struct fuse_open_in: u32 flags @0. struct fuse_open_out: u64 fh @0, u32 open_flags @8. */
export const OPEN_IN = { flags: 0, bytes: 8 } as const;
export const OPEN_OUT = { fh: 0, openFlags: 8, bytes: 16 } as const;
/** The kernel caches nothing: several files show the same bytes. */
export const FOPEN_DIRECT_IO = 1 << 0;

/** struct fuse_read_in and fuse_write_in alike: u64 fh @0, u64 offset @8, u32 size @16. */
export const READ_IN = { fh: 0, offset: 8, size: 16, bytes: 40 } as const;
export const WRITE_IN = READ_IN;
/** struct fuse_write_out: u32 size @0. */
export const WRITE_OUT_BYTES = 8;

/** struct fuse_kstatfs. */
export const STATFS = { blocks: 0, files: 24, bsize: 40, namelen: 44, frsize: 48, bytes: 80 } as const;

/** struct fuse_dirent: u64 ino, u64 offset of the next, u32 name length, u32 type, the name, padded to 8 bytes. */
export const DIRENT = { ino: 0, next: 8, namelen: 16, type: 20, name: 24 } as const;
export const DT_DIR = 4;
export const DT_REG = 8;

/** struct fuse_fallocate_in: u64 fh @0, u64 offset @8, u64 length @16, u32 mode @24. */
export const FALLOCATE_IN = { offset: 8, length: 16, mode: 24, bytes: 32 } as const;
export const FallocateMode = { keepSize: 0x01, punchHole: 0x02, zeroRange: 0x10 } as const;

/** struct fuse_lseek_in: u64 fh @0, u64 offset @8, u32 whence @16. struct fuse_lseek_out: u64 offset. */
export const LSEEK_IN = { offset: 8, whence: 16, bytes: 24 } as const;
export const Whence = { data: 3, hole: 4 } as const;

export const ROOT_NODE = 1;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const O_ACCMODE = 3;

/** What one request may carry. */
export const MAX_TRANSFER_BYTES = 2 ** 20;
/** The kernel refuses to fill a buffer that could not take its largest request. */
export const REQUEST_BUFFER_BYTES = MAX_TRANSFER_BYTES + 64 * 2 ** 10;
