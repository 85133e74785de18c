/**
 * The NBD protocol's constants and layouts: fixed newstyle negotiation, simple and structured replies.
 * Specification: NetworkBlockDevice/nbd, doc/proto.md. Every integer is big-endian. No I/O and no decisions here.
 */

/** "NBDMAGIC", the first eight bytes of the server's greeting. */
export const GREETING_MAGIC = 0x4e42444d41474943n;
/** "IHAVEOPT", in the greeting and before every option of the client. */
export const OPTION_MAGIC = 0x49484156454f5054n;
export const OPTION_REPLY_MAGIC = 0x0003e889045565a9n;

export const GREETING_SIZE = 18;
export const CLIENT_FLAGS_SIZE = 4;
/** u64 magic, u32 option, u32 length. */
export const OPTION_HEADER_SIZE = 16;
/** u64 magic, u32 option, u32 type, u32 length. */
export const OPTION_REPLY_HEADER_SIZE = 20;
/** The 124 zero bytes that follow the answer to EXPORT_NAME unless both sides agreed to leave them out. */
export const EXPORT_NAME_PADDING_SIZE = 124;

export const HandshakeFlag = { fixedNewstyle: 1, noZeroes: 2 } as const;

export const Option = {
  exportName: 1,
  abort: 2,
  list: 3,
  starttls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;

export const OptionReply = {
  ack: 1,
  server: 2,
  info: 3,
  metaContext: 4,
  errUnsupported: 0x80000001,
  errPolicy: 0x80000002,
  errInvalid: 0x80000003,
  errUnknown: 0x80000006,
  errShutdown: 0x80000007,
  errTooBig: 0x80000009,
} as const;

export const InfoType = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

export const TransmissionFlag = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
  sendCache: 1 << 10,
  sendFastZero: 1 << 11,
} as const;

/** u32 magic, u16 flags, u16 type, u64 cookie, u64 offset, u32 length. */
export const REQUEST_HEADER_SIZE = 28;
export const REQUEST_MAGIC = 0x25609513;

export const Command = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
} as const;

export const CommandFlag = { fua: 1 << 0, noHole: 1 << 1, df: 1 << 2, reqOne: 1 << 3, fastZero: 1 << 4 } as const;

/** u32 magic, u32 error, u64 cookie. */
export const SIMPLE_REPLY_SIZE = 16;
export const SIMPLE_REPLY_MAGIC = 0x67446698;

/** u32 magic, u16 flags, u16 type, u64 cookie, u32 length. */
export const CHUNK_HEADER_SIZE = 20;
export const CHUNK_MAGIC = 0x668e33ef;
export const CHUNK_FLAG_DONE = 1;

export const ChunkType = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  blockStatus: 5,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** Error numbers of the protocol; they are Linux's, whatever the system. */
export const NbdErrno = {
  ok: 0,
  eperm: 1,
  eio: 5,
  enomem: 12,
  einval: 22,
  enospc: 28,
  eoverflow: 75,
  enotsup: 95,
  eshutdown: 108,
} as const;
export type NbdErrnoValue = (typeof NbdErrno)[keyof typeof NbdErrno];

export const BASE_ALLOCATION = 'base:allocation';
/** The number by which replies name base:allocation; the server chooses it. */
export const BASE_ALLOCATION_ID = 1;
export const StatusFlag = { hole: 1, zero: 2 } as const;

/** The specification's bound for every string. */
export const MAX_STRING_BYTES = 4096;
/** Longer option data is refused unread. GO needs a name of 4096 bytes and a handful of numbers. */
export const MAX_OPTION_BYTES = 16 * 1024;
/** What a well-meaning peer may send too long and still be answered; beyond it the connection ends. */
export const MAX_SKIPPED_OPTION_BYTES = 1024 * 1024;

/** Announced as the maximum block size: no READ or WRITE may be longer. */
export const MAX_PAYLOAD_BYTES = 32 * 1024 * 1024;
export const PREFERRED_BLOCK_BYTES = 4096;
export const MINIMUM_BLOCK_BYTES = 1;
