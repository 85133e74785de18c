import { expect, test } from 'vitest';
import { fuzzVolumes } from './volumes-fuzz.ts';

test('100,000 disks with mutated partition tables and file systems get an answer', async () => {
  const report = await fuzzVolumes(100_000, 11);
  expect(report.answers.size).toBeGreaterThan(65);
  expect(report.slowestMs).toBeLessThan(5_000);
  expect(process.memoryUsage().rss).toBeLessThan(2 ** 30);
});
