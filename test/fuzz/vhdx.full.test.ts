import { expect, test } from 'vitest';
import { fuzzCheck, fuzzVhdx } from './vhdx-fuzz.ts';

test('100,000 mutated VHDX files neither crash nor stall the engine', async () => {
  const report = await fuzzVhdx(100_000, 7);
  expect(report.opened).toBeGreaterThan(5_000);
  expect(report.answers.size).toBeGreaterThan(25);
  expect(report.slowestMs).toBeLessThan(5_000);
  expect(process.memoryUsage().rss).toBeLessThan(2 ** 30);
});

test('a check of 8,000 mutated VHDX files agrees with what opening them says', async () => {
  const report = await fuzzCheck(8_000, 9);
  expect(report.opened).toBeGreaterThan(800);
  expect(report.answers.size).toBeGreaterThan(30);
  expect(report.slowestMs).toBeLessThan(5_000);
});
