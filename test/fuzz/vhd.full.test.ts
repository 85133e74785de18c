import { expect, test } from 'vitest';
import { fuzzVhd } from './vhd-fuzz.ts';

test('50,000 mutated VHD files neither crash nor stall the engine', async () => {
  const report = await fuzzVhd(50_000, 7);
  expect(report.opened).toBeGreaterThan(10_000);
  expect(report.answers.size).toBeGreaterThan(14);
  expect(report.slowestMs).toBeLessThan(5_000);
  expect(process.memoryUsage().rss).toBeLessThan(2 ** 30);
});
