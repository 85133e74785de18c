import { type DetailValue, HvError, type HvErrorCode } from '../../errors/index.ts';
import type { JsonObject } from '../json-lines.ts';
import { printableGuestText } from '../printable-text.ts';

/** Shapes of the QEMU Machine Protocol (QEMU docs/interop/qmp-spec, sections 2.2 to 2.5), validated at this edge. */

export interface QmpVersion {
  readonly major: number;
  readonly minor: number;
  readonly micro: number;
}

export interface QmpEvent {
  /** The event's name, such as SHUTDOWN. */
  readonly name: string;
  /** Unvalidated: what QEMU says, and QEMU is hostile once its guest has broken into it. */
  readonly data: JsonObject;
  /** Milliseconds since 1970 by the host's clock, or undefined where QEMU had no clock (it says -1). */
  readonly timestampMs: number | undefined;
}

export type QmpMessage =
  | { readonly kind: 'greeting'; readonly version: QmpVersion }
  | { readonly kind: 'return'; readonly id: number; readonly value: unknown }
  | {
      readonly kind: 'error';
      readonly id: number | undefined;
      readonly errorClass: string;
      readonly description: string;
    }
  | { readonly kind: 'event'; readonly event: QmpEvent };

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws HvError `protocol` for anything that is none of the four shapes */
export function parseQmpMessage(message: JsonObject): QmpMessage {
  if (typeof message.event === 'string') {
    const data = message.data ?? {};
    if (!isJsonObject(data)) throw malformed('an event whose data is not an object');
    return { kind: 'event', event: { name: message.event, data, timestampMs: timestampMs(message.timestamp) } };
  }
  if ('return' in message) {
    if (!isId(message.id)) throw malformed('an answer without a known id');
    return { kind: 'return', id: message.id, value: message.return };
  }
  if (isJsonObject(message.error)) {
    const { class: errorClass, desc } = message.error;
    if (typeof errorClass !== 'string' || typeof desc !== 'string') throw malformed('an error without class and text');
    return { kind: 'error', id: isId(message.id) ? message.id : undefined, errorClass, description: desc };
  }
  if (isJsonObject(message.QMP)) return { kind: 'greeting', version: parseVersion(message.QMP.version) };
  throw malformed('a message that is neither greeting, answer, error nor event');
}

const CODE_BY_CLASS: Readonly<Record<string, HvErrorCode>> = {
  CommandNotFound: 'unsupported',
  DeviceNotFound: 'not-found',
  DeviceNotActive: 'invalid-state',
  KVMMissingCap: 'unsupported',
};

/** QEMU's own refusal of one command. The description is QEMU's text without anything that a terminal would obey. */
export function qmpCommandError(command: string, errorClass: string, description: string): HvError {
  const code = Object.hasOwn(CODE_BY_CLASS, errorClass) ? CODE_BY_CLASS[errorClass] : undefined;
  const detail: Record<string, DetailValue> = { class: printableGuestText(errorClass, { maxLength: 64 }), command };
  return new HvError(code ?? 'process-failed', `QEMU refused ${command}: ${printableGuestText(description)}`, {
    detail,
  });
}

/** An answer that lacks what its command promises. */
export function malformedAnswer(command: string, expected: string): HvError {
  return new HvError('protocol', `QEMU's answer to ${command} lacks ${expected}`, { detail: { command } });
}

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value);
}

function timestampMs(value: unknown): number | undefined {
  if (!isJsonObject(value)) return undefined;
  const { seconds, microseconds } = value;
  if (typeof seconds !== 'number' || typeof microseconds !== 'number' || seconds < 0) return undefined;
  return seconds * 1000 + Math.floor(microseconds / 1000);
}

function parseVersion(value: unknown): QmpVersion {
  const qemu = isJsonObject(value) ? value.qemu : undefined;
  if (isJsonObject(qemu)) {
    const { major, minor, micro } = qemu;
    if (typeof major === 'number' && typeof minor === 'number' && typeof micro === 'number') {
      return { major, minor, micro };
    }
  }
  throw malformed('a greeting without a version');
}

function malformed(what: string): HvError {
  return new HvError('protocol', `QEMU sent ${what}`);
}
