/**
 * system: what hv needs of the operating system beyond Node, each with a plain way where there is no FFI.
 *
 *   store, state, disk, provision, engines -> system -> native (optional) -> kernel
 *                                                    -> small programs (flock, prlimit)
 *
 * Must not import model or anything above it; knows nothing of VMs and formats.
 */
export { syncFolder, type WriteFileAtomicOptions, writeFileAtomic } from './atomic-file.ts';
export { type DescriptorMailbox, descriptorMailbox } from './descriptor-mailbox.ts';
export { DirectSocket, ReadableWait } from './direct-socket.ts';
export {
  type DiskImageLock,
  type ImageAccess,
  isImageUsedElsewhere,
  lockDiskImage,
} from './disk-image-lock.ts';
export { entryPoint } from './entry-point.ts';
export { hasFfi } from './ffi.ts';
export {
  type AcquireLockOptions,
  acquireLock,
  type FileLock,
  type LockKind,
  lockFile,
  unlockFile,
} from './file-lock.ts';
export { findProgram, missingProgram, requireProgram } from './find-program.ts';
export { type CpuInfo, computerName, type MemoryInfo, readCpu, readMemory } from './machine.ts';
export { packageOf } from './packages.ts';
export { type PeerCredentials, peerCredentials, requirePeer } from './peer.ts';
export { waitForExit } from './pidfd.ts';
export { dropPrivileges, type Identity, isRoot } from './privileges.ts';
export {
  bootId,
  isAlive,
  ownIdentity,
  type ProcessIdentity,
  type ProcessInfo,
  processOwner,
  readProcess,
} from './process-identity.ts';
export { type ProcessUsage, processUsage, threadSeconds } from './process-usage.ts';
export {
  minimalEnvironment,
  type ProgramLimits,
  type ProgramResult,
  type RunProgramOptions,
  runProgram,
} from './run-program.ts';
export {
  canReadNowait,
  copyFileRange,
  nextData,
  nextHole,
  preadNowait,
  preallocate,
  punchHole,
} from './sparse-file.ts';
export { nameUnnamedFile, openUnnamedFile } from './unnamed-file.ts';
