import { HvError, isSystemError } from '../../errors/index.ts';
import { terminalLine } from './terminal-text.ts';

/** Whatever was thrown, as an HvError: what nobody wrapped is a defect of hv, except a command's own file access. */
export function asHvError(error: unknown): HvError {
  if (error instanceof HvError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new HvError(isSystemError(error) ? 'io' : 'internal', text, {
    ...(isSystemError(error) ? {} : { hint: 'This is a defect of hv; HV_DEBUG=1 shows where.' }),
    cause: error,
  });
}

/** One JSON object, or one line and a hint. */
export function showError(error: HvError, options: { readonly json: boolean; readonly debug: boolean }): string {
  if (options.json) return `${JSON.stringify({ error: error.toJSON() })}\n`;
  // Who pressed Ctrl-C does not care which part of hv heard of it first.
  const lines = [`hv: ${error.code === 'aborted' ? 'interrupted' : terminalLine(error.message)}`];
  if (error.hint !== undefined) lines.push(`    ${terminalLine(error.hint)}`);
  if (options.debug) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      lines.push(terminalLine(cause.stack ?? cause.message).replaceAll(' at ', '\n    at '));
    }
  }
  return `${lines.join('\n')}\n`;
}
