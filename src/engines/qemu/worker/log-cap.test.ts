import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KEPT_LOG_BYTES, LogCap, shortenLog } from './log-cap.ts';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-log-'));
  file = join(folder, 'serial.log');
});
afterEach(() => rmSync(folder, { recursive: true }));

/** Numbered lines: what is missing or out of place shows. */
function lines(from: number, count: number): string {
  return Array.from({ length: count }, (_, index) => `${String(from + index).padStart(15, '0')}\n`).join('');
}

it('gives back the space of a log that grows without end, and keeps its last part to the byte', () => {
  writeFileSync(file, '');
  using cap = new LogCap([file, join(folder, 'none.log')]);
  const perStep = 2 ** 16; // lines of 16 bytes: 1 MiB
  for (let step = 0; step < 12; step++) {
    appendFileSync(file, lines(step * perStep, perStep));
    cap.look();
    const text = readFileSync(file, 'latin1');
    expect(text.endsWith(lines(step * perStep, perStep))).toBe(true);
    expect(statSync(file).blocks * 512).toBeLessThanOrEqual(2 * KEPT_LOG_BYTES + 2 ** 20);
  }
});

it('leaves a log alone that is not large', () => {
  writeFileSync(file, lines(0, 1000));
  using cap = new LogCap([file]);
  cap.look();
  shortenLog(file);
  expect(readFileSync(file, 'latin1')).toBe(lines(0, 1000));
});

it('cuts a log that nobody writes to down to its end', () => {
  writeFileSync(file, lines(0, 3 * 2 ** 16));
  shortenLog(file);
  expect(readFileSync(file, 'latin1')).toBe(lines(2 * 2 ** 16, 2 ** 16));
  shortenLog(join(folder, 'none.log'));
});
