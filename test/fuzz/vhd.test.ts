import { expect, test } from 'vitest';
import { fuzzVhd } from './vhd-fuzz.ts';

test('3,000 mutated VHD files neither crash nor stall the engine', async () => {
  const report = await fuzzVhd(3_000, 20_261_125);
  expect(report.opened).toBeGreaterThan(600);
  expect(report.answers.size).toBeGreaterThan(12);
  expect(report.slowestMs).toBeLessThan(5_000);
  expect(process.memoryUsage().rss).toBeLessThan(2 ** 30);
});
