import { expect, test } from 'vitest';
import { fuzzCheck, fuzzVhdx } from './vhdx-fuzz.ts';

test('5,000 mutated VHDX files neither crash nor stall the engine', async () => {
  const report = await fuzzVhdx(5_000, 20_241_124);
  expect(report.opened).toBeGreaterThan(200);
  expect(report.answers.size).toBeGreaterThan(15);
  expect(report.slowestMs).toBeLessThan(5_000);
  expect(process.memoryUsage().rss).toBeLessThan(2 ** 30);
});

test('a check of 300 mutated VHDX files agrees with what opening them says', async () => {
  const report = await fuzzCheck(300, 5);
  expect(report.opened).toBeGreaterThan(30);
  expect(report.answers.size).toBeGreaterThan(20);
  expect(report.slowestMs).toBeLessThan(5_000);
});
