import { type HvErrorCode, isHvError } from '../../errors/index.ts';
import type { Export } from './export.ts';
import { Command, CommandFlag, MAX_PAYLOAD_BYTES, NbdErrno, type NbdErrnoValue } from './wire.ts';

/** The flags that each command knows; the specification refuses all others with EINVAL. FUA is legal everywhere. */
export function allowedFlags(command: number, structuredReplies: boolean): number {
  switch (command) {
    case Command.read:
      return CommandFlag.fua | (structuredReplies ? CommandFlag.df : 0);
    case Command.writeZeroes:
      return CommandFlag.fua | CommandFlag.noHole | CommandFlag.fastZero;
    case Command.blockStatus:
      return CommandFlag.fua | CommandFlag.reqOne;
    default:
      return CommandFlag.fua;
  }
}

/**
 * Whether a request may be carried out, as an error number ("Error values" of the specification):
 * EPERM for changes of a read-only export, ENOSPC for writing behind its end, EINVAL for everything else.
 * The offset may have lost precision above 2^53; every such offset is out of range.
 */
export function checkRequest(
  target: Export,
  command: number,
  flags: number,
  offset: number,
  length: number,
  structuredReplies: boolean,
): NbdErrnoValue {
  if ((flags & ~allowedFlags(command, structuredReplies)) !== 0) return NbdErrno.einval;
  const isChange = command === Command.write || command === Command.writeZeroes || command === Command.trim;
  if (isChange && target.device.readOnly) return NbdErrno.eperm;
  if (offset + length > target.sizeBytes) {
    return command === Command.write || command === Command.writeZeroes ? NbdErrno.enospc : NbdErrno.einval;
  }
  if (command === Command.read && length > MAX_PAYLOAD_BYTES) return NbdErrno.einval;
  if (command === Command.blockStatus && length === 0) return NbdErrno.einval;
  return NbdErrno.ok;
}

const ERRNO_BY_CODE: Partial<Record<HvErrorCode, NbdErrnoValue>> = {
  'no-space': NbdErrno.enospc,
  'permission-denied': NbdErrno.eperm,
  'invalid-argument': NbdErrno.einval,
  unsupported: NbdErrno.enotsup,
};

/** What a failure of the device is called on the wire. */
export function errnoOf(error: unknown): NbdErrnoValue {
  return (isHvError(error) ? ERRNO_BY_CODE[error.code] : undefined) ?? NbdErrno.eio;
}
