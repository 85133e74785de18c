/**
 * disk: virtual disks in files, portable and offline: no VM, no hypervisor.
 *
 *     openVhd -> open-chain (parents: where they may lie, identity) -> DiskChain of formats/vhdx -> store -> system
 *     createVhd -> create-file (temporary name, flush, link)         or RawDisk
 *
 * BlockDevice is what everything above reads and writes. Must not import protocols, host, engines or model.
 */
export type { BlockDevice, Extent, FileRange } from './block-device.ts';
export { DiskChain, type LayerInfo } from './disk-chain.ts';
export { type MergeOptions, mergeIntoParent, setParent } from './merge.ts';
export { RawDisk } from './raw-disk.ts';
export {
  type CreateVhdOptions,
  checkNewVhd,
  createVhd,
  type DiskFormat,
  formatOf,
  type OpenDisk,
  type OpenVhdOptions,
  openChain,
  openVhd,
  type VhdInfo,
  type VhdInfoOptions,
  vhdInfo,
} from './vhd.ts';
