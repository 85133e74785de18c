/**
 * facade: what users hold. Thin objects over the Host contract: HyperVFacade, Vm, Snapshot, Vhd. No engine is known here.
 *
 *   your program -> HyperV -> Host (host/) -> engine
 */
export type { DiskService } from '../host/index.ts';
export { Guest } from './guest.ts';
export { HyperVFacade } from './hyperv.ts';
export { Snapshot } from './snapshot.ts';
export { type CreateVhdFileOptions, Vhd } from './vhd.ts';
export { VhdSet } from './vhd-set.ts';
export { Vm } from './vm.ts';
