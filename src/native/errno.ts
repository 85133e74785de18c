import { constants } from 'node:os';
import { fromSystemError, type HvError, type HvErrorDetail } from '../errors/index.ts';

const SYMBOL_BY_NUMBER: ReadonlyMap<number, string> = new Map(
  // EWOULDBLOCK and EAGAIN share a number, ENOTSUP and EOPNOTSUPP too: the first spelling of each pair below wins.
  Object.entries(constants.errno)
    .filter(([symbol]) => symbol !== 'EWOULDBLOCK' && symbol !== 'ENOTSUP')
    .map(([symbol, number]) => [number, symbol]),
);

/** `EAGAIN` for 11 and so on; `E<number>` for what this system's table does not know. */
export function errnoSymbol(number: number): string {
  return SYMBOL_BY_NUMBER.get(number) ?? `E${number}`;
}

/** This system's number for a symbol. */
export const ERRNO = constants.errno;

/** The HvError for a native call that failed with `errno` (positive), keeping number, symbol and function. */
export function nativeError(functionName: string, errno: number, doing: string, detail: HvErrorDetail = {}): HvError {
  const symbol = errnoSymbol(errno);
  const cause = Object.assign(new Error(`${functionName}: ${symbol}`), {
    code: symbol,
    errno: -errno,
    syscall: functionName,
  });
  return fromSystemError(cause, doing, detail);
}
