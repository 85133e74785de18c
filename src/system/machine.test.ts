import { availableParallelism } from 'node:os';
import { expect, it } from 'vitest';
import { computerName, parseCpuInfo, readCpu, readMemory } from './machine.ts';

it('reads this host', () => {
  const memory = readMemory();
  expect(memory.totalBytes).toBeGreaterThan(2 ** 27);
  expect(memory.availableBytes).toBeGreaterThan(0);
  expect(memory.availableBytes).toBeLessThanOrEqual(memory.totalBytes);
  const cpu = readCpu();
  expect(cpu.logicalProcessorCount).toBeGreaterThanOrEqual(cpu.usableProcessorCount);
  expect(cpu.usableProcessorCount).toBe(availableParallelism());
  expect(computerName()).toMatch(/^[^.]+$/);
});

it('tells the virtualization extensions apart and does not fall for words that hold their names', () => {
  const entry = (flags: string): string =>
    `processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: A CPU @ 2.00GHz\nflags\t\t: ${flags}\n\n`;
  expect(parseCpuInfo(entry('fpu vmx sse') + entry('fpu vmx sse'), 1)).toEqual({
    model: 'A CPU @ 2.00GHz',
    vendor: 'GenuineIntel',
    logicalProcessorCount: 2,
    usableProcessorCount: 1,
    hasVmx: true,
    hasSvm: false,
    isVirtual: false,
  });
  expect(parseCpuInfo(entry('svm hypervisor'), 1)).toMatchObject({ hasVmx: false, hasSvm: true, isVirtual: true });
  expect(parseCpuInfo(`${entry('vmx_like svm_lock')}vmx flags\t: vnmi\n`, 1)).toMatchObject({
    hasVmx: false,
    hasSvm: false,
  });
  expect(parseCpuInfo('', 4)).toMatchObject({ logicalProcessorCount: 1, model: '' });
});
