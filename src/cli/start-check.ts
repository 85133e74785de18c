import { HvError } from '../errors/index.ts';
import type { HyperVFacade, Vm } from '../facade/index.ts';

/** What a start would stumble over besides the machine's state: programs that are missing, memory, disks that cannot be read. */
export async function checkStart(hv: HyperVFacade, vm: Vm): Promise<void> {
  const { generation, hardDiskDrives, memoryBytes } = await vm.info();
  const missing = (await hv.doctor()).filter(({ id, status }) => status === 'missing' && isNeeded(id, generation));
  const [first] = missing;
  if (first) {
    throw new HvError('missing-dependency', `cannot start "${vm.name}": ${first.message}`, {
      detail: { vm: vm.name, missing: missing.map(({ id }) => id) },
      ...(first.fix === null ? {} : { hint: first.fix }),
    });
  }
  const { memoryCapacityBytes } = await hv.hostInfo();
  if (memoryBytes > memoryCapacityBytes) {
    throw new HvError('no-space', `"${vm.name}" wants more memory than this host has`, {
      detail: { vm: vm.name, memoryBytes, hostMemoryBytes: memoryCapacityBytes },
    });
  }
  for (const drive of hardDiskDrives) await hv.host.disks.info(drive.path);
}

/** Generation 1 has no UEFI firmware, and no machine needs what only templates are built with. */
function isNeeded(findingId: string, generation: 1 | 2): boolean {
  return findingId !== 'linux-template' && (findingId !== 'firmware' || generation === 2);
}
