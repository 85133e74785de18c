/**
 * fuse: shows a disk and its partitions as files in a folder, over the kernel's FUSE protocol.
 *
 *   mountFuse -> /dev/fuse, mount(8) as root or fusermount3 as anybody -> descriptor
 *   descriptor -> FuseChannel -> FuseSession -> Tree of views -> BlockDevice (disk/)
 *
 * No library: the protocol is small for a tree that never changes. Must not import formats, host, engines or model.
 */
export { FuseChannel } from './channel.ts';
export { canMountFuse, type MountFuseOptions, mountFuse, unmountFuse } from './mount-fuse.ts';
export { FuseSession, type FuseSessionOptions } from './session.ts';
export type { View } from './tree.ts';
