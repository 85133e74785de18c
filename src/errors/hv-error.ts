/** Every reason for which hv refuses or fails. The list is closed: exit statuses and HTTP statuses are made from it. */
export const HV_ERROR_CODES = [
  'invalid-argument',
  'not-found',
  'already-exists',
  'ambiguous-name',
  'invalid-state',
  'in-use',
  'unsupported',
  'missing-dependency',
  'permission-denied',
  'corrupt',
  'parent-changed',
  'no-space',
  'io',
  'timeout',
  'aborted',
  'protocol',
  'guest-failed',
  'process-failed',
  'internal',
] as const;

export type HvErrorCode = (typeof HV_ERROR_CODES)[number];

/** A value that survives JSON; what a detail may hold. */
export type DetailValue =
  | string
  | number
  | boolean
  | null
  | readonly DetailValue[]
  | { readonly [key: string]: DetailValue };
export type HvErrorDetail = Readonly<Record<string, DetailValue>>;

export interface HvErrorOptions {
  /** Machine-readable facts: the thing it failed on, offsets, values seen, the OS's own code. */
  readonly detail?: HvErrorDetail;
  /** What the user can do, as one sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** The one error class that leaves hv. `code` drives control flow; `message` says what failed and on which thing. */
export class HvError extends Error {
  override readonly name: string = 'HvError';
  readonly code: HvErrorCode;
  readonly detail: HvErrorDetail;
  readonly hint: string | undefined;

  constructor(code: HvErrorCode, message: string, options: HvErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.detail = options.detail ?? {};
    this.hint = options.hint;
  }

  /** The wire form, the same on stderr with --json, between processes and over HTTP. */
  toJSON(): HvErrorJson {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      detail: this.detail,
    };
  }

  /** Rebuilds an error that another hv process sent. */
  static fromJSON(json: HvErrorJson): HvError {
    const code = HV_ERROR_CODES.includes(json.code) ? json.code : 'internal';
    return new HvError(code, json.message, {
      detail: json.detail ?? {},
      ...(json.hint === undefined ? {} : { hint: json.hint }),
    });
  }
}

export interface HvErrorJson {
  readonly code: HvErrorCode;
  readonly message: string;
  readonly hint?: string;
  readonly detail?: HvErrorDetail;
}

export function isHvError(value: unknown, code?: HvErrorCode): value is HvError {
  return value instanceof HvError && (code === undefined || value.code === code);
}

/** A broken promise inside hv itself. */
export function invariant(condition: unknown, what: string): asserts condition {
  if (!condition)
    throw new HvError('internal', `invariant broken: ${what}`, { hint: 'This is a defect of hv; please report it.' });
}

/** Ends a switch over a union: the compiler proves it unreachable. */
export function assertNever(value: never, what = 'value'): never {
  throw new HvError('internal', `unexpected ${what}: ${JSON.stringify(value)}`);
}
