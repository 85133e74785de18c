import { describe, expect, it } from 'vitest';
import { processUsage, threadSeconds } from './process-usage.ts';

describe('processUsage', () => {
  it('grows with what the process works, and counts its memory', () => {
    const before = processUsage(process.pid);
    const until = performance.now() + 300;
    while (performance.now() < until) Math.sqrt(2);
    const after = processUsage(process.pid);
    if (!before || !after) throw new Error('this process is there');
    expect(after.processorSeconds - before.processorSeconds).toBeGreaterThan(0.05);
    expect(after.residentBytes).toBeGreaterThan(10 * 2 ** 20);
    expect(after.residentBytes).toBeLessThan(2 ** 40);
  });

  it('knows the main thread by the number of the process', () => {
    const whole = processUsage(process.pid)?.processorSeconds ?? 0;
    const main = threadSeconds(process.pid, process.pid);
    expect(main).toBeGreaterThan(0);
    expect(main).toBeLessThanOrEqual(whole + 0.05);
  });

  it('says nothing of what is not there', () => {
    expect(processUsage(2 ** 30)).toBeUndefined();
    expect(threadSeconds(process.pid, 2 ** 30)).toBeUndefined();
  });
});
