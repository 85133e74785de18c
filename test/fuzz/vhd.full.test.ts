import { expect, test } from 'vitest';
import { fuzzVhd } from './vhd-fuzz.ts';

test('100,000 mutated VHD files neither crash nor stall the engine', async () => {
  const report = await fuzzVhd(100_000, 7);
  expect(report.opened).toBeGreaterThan(20_000);
  expect(report.answers.size).toBeGreaterThan(14);
  expect(report.slowestMs).toBeLessThan(5_000);
  expect(process.memoryUsage().rss).toBeLessThan(2 ** 30);
});
