import { closeSync, constants, fstatSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { FileStore } from '../store/index.ts';
import { RawDisk } from './raw-disk.ts';

const SYSFS_SECTOR_BYTES = 512;
/** Linux, open(2): on a block device O_EXCL alone is refused while something has it mounted, or open in the same way. */
const EXCLUSIVE = constants.O_EXCL | constants.O_NONBLOCK | constants.O_NOCTTY;

/**
 * Opens a block device of this host for nobody else: neither a mount nor another exclusive user gets it meanwhile.
 * @throws HvError `in-use` (mounted, or held), `invalid-argument` (no block device), `not-found`, `permission-denied`, `io`
 */
export function openPhysicalDisk(path: string, options: { readonly readOnly?: boolean | undefined } = {}): RawDisk {
  const readOnly = options.readOnly === true;
  const real = mustBeBlockDevice(path);
  let fd: number;
  try {
    fd = openSync(real, EXCLUSIVE | (readOnly ? constants.O_RDONLY : constants.O_RDWR));
  } catch (error) {
    if (isSystemError(error, 'EBUSY')) {
      throw new HvError('in-use', `the device ${path} is mounted, or another program holds it`, {
        detail: { path },
        hint: 'Unmount it and its partitions, and stop what uses it.',
        cause: error,
      });
    }
    throw fromSystemError(error, `could not open ${path}`, { path });
  }
  try {
    return new RawDisk(new FileStore(fd, real, { readOnly, deviceSizeBytes: deviceSize(fstatSync(fd).rdev, real) }));
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** @throws HvError as openPhysicalDisk */
export function physicalDiskSize(path: string): number {
  const real = mustBeBlockDevice(path);
  return deviceSize(statSync(real).rdev, real);
}

function mustBeBlockDevice(path: string): string {
  try {
    const real = realpathSync(path);
    if (statSync(real).isBlockDevice()) return real;
  } catch (error) {
    throw fromSystemError(error, `could not look at ${path}`, { path });
  }
  throw new HvError('invalid-argument', `${path} is no block device`, {
    detail: { path },
    hint: 'Name a device such as /dev/sdb; a file is attached without --physical.',
  });
}

/** As the kernel has it, in its own sectors whatever the device's are. */
function deviceSize(rdev: number, path: string): number {
  const number = `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`;
  try {
    const sizeBytes = Number(readFileSync(`/sys/dev/block/${number}/size`, 'latin1')) * SYSFS_SECTOR_BYTES;
    if (Number.isSafeInteger(sizeBytes) && sizeBytes > 0) return sizeBytes;
  } catch (error) {
    throw fromSystemError(error, `could not read the size of ${path}`, { path });
  }
  throw new HvError('invalid-argument', `the device ${path} holds nothing: it has no medium`, { detail: { path } });
}
