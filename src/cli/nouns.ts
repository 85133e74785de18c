import type { HyperVFacade, Snapshot, Vm } from '../facade/index.ts';

/** The nouns as the facade hands them out. */
export type VmInfo = Awaited<ReturnType<Vm['info']>>;
export type SnapshotInfo = Snapshot['info'];
export type CreateVmOptions = Parameters<HyperVFacade['createVm']>[0];
