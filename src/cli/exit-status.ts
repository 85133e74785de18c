import type { HvErrorCode } from '../errors/index.ts';

/** What the shell is told. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  wrongState: 4,
  unsupported: 5,
  /** A question (wait, doctor) was answered "no". */
  answerNo: 10,
  interrupted: 130,
} as const;

/** hv's own failures where a command passes on the status of a program, as of env and of container tools. */
export const OWN_FAILURE = 125;

export type ExitStatus = (typeof EXIT)[keyof typeof EXIT];

/** The one table from error codes to exit statuses. */
const STATUS_BY_CODE: Readonly<Record<HvErrorCode, ExitStatus>> = {
  'invalid-argument': EXIT.usage,
  'ambiguous-name': EXIT.usage,
  'not-found': EXIT.notFound,
  'already-exists': EXIT.wrongState,
  'invalid-state': EXIT.wrongState,
  'in-use': EXIT.wrongState,
  unsupported: EXIT.unsupported,
  'missing-dependency': EXIT.unsupported,
  'permission-denied': EXIT.failed,
  corrupt: EXIT.failed,
  'parent-changed': EXIT.failed,
  'no-space': EXIT.failed,
  io: EXIT.failed,
  timeout: EXIT.failed,
  protocol: EXIT.failed,
  'guest-failed': EXIT.failed,
  'process-failed': EXIT.failed,
  internal: EXIT.failed,
  aborted: EXIT.interrupted,
};

export function exitStatusOf(code: HvErrorCode): ExitStatus {
  return STATUS_BY_CODE[code];
}
