/**
 * system: what hv needs of the operating system beyond Node, each with a plain way where there is no FFI.
 *
 *   store, state, disk, provision, engines -> system -> native (optional) -> kernel
 *                                                    -> small programs (flock, prlimit)
 *
 * Must not import model or anything above it; knows nothing of VMs and formats.
 */
export { entryPoint } from './entry-point.ts';
export {
  canReadNowait,
  copyFileRange,
  nextData,
  nextHole,
  preadNowait,
  preallocate,
  punchHole,
} from './sparse-file.ts';
