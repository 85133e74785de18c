/**
 * errors: the closed list of codes with which hv fails, and the tables that turn an operating system's into them.
 * Everyone may import this room; it imports nothing.
 */
export { fromSystemError, isSystemError, type NodeSystemError } from './errno.ts';
export {
  assertNever,
  type DetailValue,
  HV_ERROR_CODES,
  HvError,
  type HvErrorCode,
  type HvErrorDetail,
  type HvErrorJson,
  type HvErrorOptions,
  invariant,
  isHvError,
} from './hv-error.ts';
