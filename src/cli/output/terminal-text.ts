/**
 * What must not reach a terminal from a guest, a file or another process: whole escape sequences first (CSI; OSC, DCS, SOS,
 * PM, APC up to their end; two-byte ones; ECMA-48), then every control character but line feed and tab, then what reorders
 * text. Each repetition is over a class that excludes what follows it, so the time is linear.
 */
const ESCAPE_SEQUENCE =
  /(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]?|(?:\u001b[\]PX^_]|[\u009d\u0090\u0098\u009e\u009f])[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|\u001b[ -/]*[0-~]?/g;
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;
const REORDERING = /[\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/** Text of several lines, safe to print on a terminal. Applying it twice changes nothing. */
export function terminalText(text: string): string {
  return text
    .replace(ESCAPE_SEQUENCE, '')
    .replace(/\r+\n/g, '\n')
    .replace(/\r/g, '\n')
    .replace(CONTROL, '')
    .replace(REORDERING, '');
}

/** The same in one line: for messages, cells and titles. */
export function terminalLine(text: string): string {
  return terminalText(text).replace(/[\n\t]+/g, ' ');
}
