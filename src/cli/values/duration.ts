import { HvError } from '../../errors/index.ts';

const MS_BY_UNIT: Readonly<Record<string, number>> = { ms: 1, '': 1000, s: 1000, m: 60_000, h: 3_600_000 };
/** What a timer of Node can wait for. */
const MAX_DURATION_MS = 2 ** 31 - 1;

/** Reads a duration as milliseconds: seconds, or a number with ms, s, m or h. @throws HvError `invalid-argument` */
export function parseDuration(text: string): number {
  const match = /^(?<number>\d{1,12}(?:[.]\d{1,6})?)\s*(?<unit>ms|s|m|h|)$/i.exec(text.trim());
  const factor = MS_BY_UNIT[match?.groups?.unit?.toLowerCase() ?? 'none'];
  const durationMs = factor === undefined ? Number.NaN : Math.round(Number(match?.groups?.number) * factor);
  if (!(durationMs >= 0 && durationMs <= MAX_DURATION_MS)) {
    const shown = text.slice(0, 60);
    throw new HvError('invalid-argument', `the duration ${JSON.stringify(shown)} is not possible`, {
      detail: { what: 'duration', value: shown },
      hint: 'Write seconds, or a number with ms, s, m or h, up to 24 days: 30, 30s, 2m, 500ms.',
    });
  }
  return durationMs;
}
