/**
 * facade: what users hold. Thin objects over the Host contract: HyperV, Vm, Snapshot, Vhd. No engine is known here.
 *
 *   your program -> HyperV -> Host (host/) -> engine
 */
export { HyperV } from './hyperv.ts';
export { Snapshot } from './snapshot.ts';
export { type CreateVhdFileOptions, Vhd } from './vhd.ts';
export { Vm } from './vm.ts';
