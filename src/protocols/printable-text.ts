/**
 * Everything that must not reach a terminal, a log line or a table from a peer that may be hostile: C0 and C1 controls,
 * DEL, line and paragraph separators, marks and overrides that reorder text (Trojan Source), zero-width characters,
 * the byte order mark, interlinear annotations, tag characters and lone surrogates.
 */
const UNPRINTABLE =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\p{Cs}]/gu;

/**
 * An escape sequence as a whole, so that its parameters do not stay behind as text: CSI (ECMA-48 5.4), then the strings
 * OSC, DCS, SOS, PM and APC up to their terminator, then the two-byte ones. C1 forms count as their ESC forms.
 * Every repetition is over a class that excludes what follows it: no backtracking beyond linear.
 */
const ESCAPE_SEQUENCE =
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]?|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]*[0-~]?/g;

const LINE_BREAKS = /\r\n|[\n\r\t\u2028\u2029]/g;

export interface PrintableTextOptions {
  /** Longest result in UTF-16 units; the rest is replaced by one ellipsis. Default 1024. */
  readonly maxLength?: number;
}

/**
 * Makes text from a guest or from QEMU safe to show in one line: escape sequences, control characters and characters
 * that reorder text are removed, line breaks and tabs become spaces. Pure and linear in the text's length; applying it
 * twice changes nothing.
 */
export function printableGuestText(text: string, options: PrintableTextOptions = {}): string {
  const maxLength = Math.max(1, options.maxLength ?? 1024);
  // A bound before the work as well: hostile text may be megabytes, and the result keeps only so much of it.
  const bounded = text.length > maxLength * 8 ? text.slice(0, maxLength * 8) : text;
  const clean = bounded.replace(ESCAPE_SEQUENCE, '').replace(LINE_BREAKS, ' ').replace(UNPRINTABLE, '').trim();
  if (clean.length <= maxLength && bounded.length === text.length) return clean;
  return `${clean.slice(0, maxLength - 1).replace(/[\ud800-\udbff]$/, '')}…`;
}
