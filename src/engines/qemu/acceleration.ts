import { accessSync, constants, statSync } from 'node:fs';
import { readCpu } from '../../system/index.ts';

const KVM_DEVICE = '/dev/kvm';

/** KVM only where the processor itself virtualises: some hosts offer a /dev/kvm without it, on which kernels hang. */
export function chooseAcceleration(): 'kvm' | 'tcg' {
  const cpu = readCpu();
  return (cpu.hasVmx || cpu.hasSvm) && isUsable(KVM_DEVICE) ? 'kvm' : 'tcg';
}

/** The group that opens /dev/kvm, for a process that gives up everything else. */
export function accelerationGroups(acceleration: 'kvm' | 'tcg'): number[] {
  if (acceleration === 'tcg') return [];
  const { gid } = statSync(KVM_DEVICE);
  return gid === 0 ? [] : [gid];
}

function isUsable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
