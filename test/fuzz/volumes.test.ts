import { expect, test } from 'vitest';
import { fuzzVolumes } from './volumes-fuzz.ts';

test('4,000 disks with mutated partition tables and file systems get an answer', async () => {
  const report = await fuzzVolumes(4_000, 20_261_125);
  expect(report.answers.size).toBeGreaterThan(45);
  expect(report.slowestMs).toBeLessThan(2_000);
  expect(process.memoryUsage().rss).toBeLessThan(2 ** 30);
});
