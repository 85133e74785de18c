import { HvError, type HvErrorCode, type HvErrorDetail } from './hv-error.ts';

/** How Linux errno symbols map to hv's codes; everything absent is `io`. */
const CODE_BY_ERRNO: Readonly<Record<string, HvErrorCode>> = {
  ENOENT: 'not-found',
  ENOTDIR: 'not-found',
  EEXIST: 'already-exists',
  EACCES: 'permission-denied',
  EPERM: 'permission-denied',
  EROFS: 'permission-denied',
  ENOSPC: 'no-space',
  EDQUOT: 'no-space',
  EFBIG: 'no-space',
  EBUSY: 'in-use',
  ETXTBSY: 'in-use',
  EAGAIN: 'in-use',
  ETIMEDOUT: 'timeout',
  EINVAL: 'invalid-argument',
  ENAMETOOLONG: 'invalid-argument',
  EISDIR: 'invalid-argument',
  ELOOP: 'invalid-argument',
  ENOTEMPTY: 'invalid-state',
};

export interface NodeSystemError extends Error {
  readonly code: string;
  readonly errno?: number;
  readonly syscall?: string;
  readonly path?: string;
}

export function isSystemError(error: unknown, ...symbols: readonly string[]): error is NodeSystemError {
  if (!(error instanceof Error)) return false;
  const code = (error as Partial<NodeSystemError>).code;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) && (symbols.length === 0 || symbols.includes(code));
}

/**
 * Wraps an operating system failure once, keeping number, symbol and function.
 * An HvError passes through unchanged, so that a cause is never wrapped twice.
 */
export function fromSystemError(error: unknown, doing: string, detail: HvErrorDetail = {}): HvError {
  if (error instanceof HvError) return error;
  if (!isSystemError(error)) return new HvError('internal', `${doing}: unexpected failure`, { detail, cause: error });
  const code = CODE_BY_ERRNO[error.code] ?? 'io';
  return new HvError(code, `${doing}: ${describeErrno(error.code)}`, {
    detail: {
      ...detail,
      errno: error.code,
      ...(error.errno === undefined ? {} : { errnoNumber: Math.abs(error.errno) }),
      ...(error.syscall === undefined ? {} : { function: error.syscall }),
    },
    cause: error,
  });
}

const TEXT_BY_ERRNO: Readonly<Record<string, string>> = {
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is not a folder',
  EEXIST: 'it exists already',
  EACCES: 'permission denied',
  EPERM: 'operation not permitted',
  EROFS: 'the file system is read-only',
  ENOSPC: 'no space left',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file would be too large for this file system',
  EBUSY: 'it is in use',
  EISDIR: 'it is a folder',
  EMFILE: 'too many open files',
  EIO: 'input/output error',
  ELOOP: 'a symbolic link where none is allowed, or too many of them',
  ENAMETOOLONG: 'the name is too long',
};

function describeErrno(symbol: string): string {
  const text = TEXT_BY_ERRNO[symbol];
  return text === undefined ? symbol : `${text} (${symbol})`;
}
