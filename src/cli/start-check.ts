import { HvError } from '../errors/index.ts';
import type { HyperVFacade, Vm } from '../facade/index.ts';

/** What a start would stumble over besides the machine's state: programs that are missing, disks that cannot be read. */
export async function checkStart(hv: HyperVFacade, vm: Vm): Promise<void> {
  const missing = (await hv.doctor()).filter(({ status }) => status === 'missing');
  const [first] = missing;
  if (first) {
    throw new HvError('missing-dependency', `cannot start "${vm.name}": ${first.message}`, {
      detail: { vm: vm.name, missing: missing.map(({ id }) => id) },
      ...(first.fix === null ? {} : { hint: first.fix }),
    });
  }
  const { hardDiskDrives } = await vm.info();
  for (const drive of hardDiskDrives) await hv.host.disks.info(drive.path);
}
