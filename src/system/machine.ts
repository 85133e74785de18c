import { readFileSync } from 'node:fs';
import { availableParallelism, hostname } from 'node:os';
import { fromSystemError, HvError } from '../errors/index.ts';

export interface MemoryInfo {
  readonly totalBytes: number;
  /** What can be given to programs without swapping, the kernel's own estimate. */
  readonly availableBytes: number;
}

/** The host's memory (proc(5), /proc/meminfo). @throws HvError `io` */
export function readMemory(): MemoryInfo {
  const text = readProc('/proc/meminfo');
  const bytesOf = (name: string): number => {
    const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text);
    if (!match) throw new HvError('io', `/proc/meminfo does not tell ${name}`);
    return Number(match[1]) * 1024;
  };
  return { totalBytes: bytesOf('MemTotal'), availableBytes: bytesOf('MemAvailable') };
}

export interface CpuInfo {
  readonly model: string;
  readonly vendor: string;
  /** As the kernel counts them: threads of all cores. */
  readonly logicalProcessorCount: number;
  /** Those that this process may use: fewer under taskset or a container's limit. */
  readonly usableProcessorCount: number;
  /** Intel's and AMD's virtualization extensions; without either, KVM cannot work. */
  readonly hasVmx: boolean;
  readonly hasSvm: boolean;
  /** hv itself runs inside a virtual machine. */
  readonly isVirtual: boolean;
}

/** The host's processors (proc(5), /proc/cpuinfo). @throws HvError `io` */
export function readCpu(): CpuInfo {
  return parseCpuInfo(readProc('/proc/cpuinfo'), availableParallelism());
}

export function parseCpuInfo(text: string, usableProcessorCount: number): CpuInfo {
  const first = (name: string): string => new RegExp(`^${name}[ \\t]*: (.*)$`, 'm').exec(text)?.[1]?.trim() ?? '';
  const flags = new Set(first('flags').split(' '));
  const count = text.match(/^processor[ \t]*:/gm)?.length ?? 0;
  return {
    model: first('model name'),
    vendor: first('vendor_id'),
    logicalProcessorCount: Math.max(1, count),
    usableProcessorCount,
    hasVmx: flags.has('vmx'),
    hasSvm: flags.has('svm'),
    isVirtual: flags.has('hypervisor'),
  };
}

/** The host's own name, without its domain. */
export function computerName(): string {
  return hostname().split('.')[0] ?? '';
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw fromSystemError(error, `could not read ${path}`, { path });
  }
}
