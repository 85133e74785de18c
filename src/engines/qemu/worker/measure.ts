import type { z } from 'zod';
import type { VmSpecification } from '../../../model/index.ts';
import { type QmpClient, queryBalloon, queryBlockTraffic, queryCpus } from '../../../protocols/qmp/index.ts';

import { driveNames } from '../drive-devices.ts';
import type { AdapterTraffic } from './guest-agent-link.ts';
import type { measuredSchema } from './wire.ts';

/** What QEMU counts for a machine; the guest's part is handed in. */
export async function measure(
  monitor: QmpClient,
  specification: VmSpecification,
  adapters: readonly AdapterTraffic[],
): Promise<z.infer<typeof measuredSchema>> {
  const [cpus, balloonBytes, traffic] = await Promise.all([
    queryCpus(monitor),
    queryBalloon(monitor),
    queryBlockTraffic(monitor),
  ]);
  return {
    processorThreads: [...cpus].sort((a, b) => a.index - b.index).map(({ threadId }) => threadId),
    balloonBytes: balloonBytes ?? null,
    disks: specification.hardDiskDrives.flatMap((drive) => {
      const name = driveNames(drive).device;
      const found = traffic.find(({ qomPath }) => qomPath.split('/').includes(name));
      if (!found) return [];
      const { qomPath: _place, ...counts } = found;
      return [{ driveId: drive.id, ...counts }];
    }),
    adapters: [...adapters],
  };
}
