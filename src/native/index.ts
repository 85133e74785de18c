/**
 * native: foreign functions. The only room that imports koffi, which is optional and loaded at the first use.
 *
 *   system, linux, windows -> nativeLibc() -> koffi -> C library        undefined: no FFI here, take the plain way
 *
 * Must not import any room but errors. Nothing here decides: wrappers answer a result or minus an errno.
 */
export {
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  F_RDLCK,
  F_UNLCK,
  F_WRLCK,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  LOCK_UN,
  O_TMPFILE,
  RWF_NOWAIT,
  SEEK_DATA,
  SEEK_HOLE,
} from './abi.ts';
export { ERRNO, errnoSymbol, nativeError } from './errno.ts';
export { type Libc, nativeLibc } from './libc.ts';
