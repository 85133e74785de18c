import type { HyperVFacade, Snapshot, Vm } from '../facade/index.ts';
import { argument } from './definition.ts';
import { judgeMove, type VmAction } from './doors.ts';

export const SNAPSHOT_ARGUMENT = argument('Name of the snapshot or its id');

/** The machine and its snapshot, and that its state allows what is asked. @throws HvError `invalid-state`, `not-found`, `ambiguous-name` */
export async function findSnapshot(
  hv: HyperVFacade,
  vmNameOrId: string,
  snapshotNameOrId: string,
  action: VmAction,
): Promise<{ readonly vm: Vm; readonly snapshot: Snapshot }> {
  const vm = await hv.getVm(vmNameOrId);
  const snapshot = await hv.getSnapshot(vm.id, snapshotNameOrId);
  judgeMove(action, await vm.state(), vm);
  return { vm, snapshot };
}
