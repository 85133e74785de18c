import type { StorageQos, VmSpecification } from '../../../../model/index.ts';
import { type IoThrottle, queryBlockDevices, setIoThrottle } from '../../../../protocols/qmp/index.ts';
import { driveNames } from '../../drive-devices.ts';
import type { LiveMachine } from './live-machine.ts';

/** What counts as one operation (Msvm_StorageAllocationSettingData.IOPSLimit). */
const OPERATION_BYTES = 8192;
const UNBOUNDED: IoThrottle = { bytesPerSecond: 0, operationsPerSecond: 0, operationBytes: 0 };

/** Bounds what each hard disk drive may ask of its disk. */
export async function reconcileThrottles({ monitor }: LiveMachine, specification: VmSpecification): Promise<void> {
  const devices = await queryBlockDevices(monitor);
  for (const drive of specification.hardDiskDrives) {
    const { device } = driveNames(drive);
    const present = devices.find(({ deviceId }) => deviceId === device)?.throttle ?? UNBOUNDED;
    const wanted = throttleOf(drive.qos);
    if (!isSame(present, wanted)) await setIoThrottle(monitor, device, wanted);
  }
}

function throttleOf({ maximumIops, maximumBytesPerSecond }: StorageQos): IoThrottle {
  return {
    bytesPerSecond: maximumBytesPerSecond ?? 0,
    operationsPerSecond: maximumIops ?? 0,
    operationBytes: maximumIops === null ? 0 : OPERATION_BYTES,
  };
}

function isSame(one: IoThrottle, other: IoThrottle): boolean {
  return (
    one.bytesPerSecond === other.bytesPerSecond &&
    one.operationsPerSecond === other.operationsPerSecond &&
    (one.operationBytes === other.operationBytes || other.operationsPerSecond === 0)
  );
}
