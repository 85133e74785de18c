import { HvError } from '../../errors/index.ts';
import { parseDuration } from './duration.ts';

/** A moment: ISO 8601, or how long ago (`10m`, `2h`). @throws HvError `invalid-argument` */
export function parseMoment(text: string): Date {
  const time = /^\d{4}-\d\d-\d\d/.test(text) ? new Date(text) : undefined;
  if (time && !Number.isNaN(time.getTime())) return time;
  if (!time && /^[\d.]+\s*(?:s|m|h)$/i.test(text.trim())) return new Date(Date.now() - parseDuration(text));
  const shown = text.slice(0, 60);
  throw new HvError('invalid-argument', `the moment ${JSON.stringify(shown)} is not possible`, {
    detail: { what: 'moment', value: shown },
    hint: 'Write a time as 2026-01-31T17:05:00Z, or how long ago: 30s, 10m, 2h.',
  });
}
