import { createHash } from 'node:crypto';
import { accessSync, constants } from 'node:fs';
import { DiskChain, type OpenDisk, type OpenVhdOptions, openVhd } from '../../disk/index.ts';
import type { DiskIdentity } from './command.ts';
import { isWritingCommand, type ScsiResult, ScsiTarget, type ScsiTargetOptions } from './target.ts';

export interface ScsiCommandOptions
  extends Pick<OpenVhdOptions, 'format' | 'allowParents' | 'signal'>,
    Pick<ScsiTargetOptions, 'senseFormat'> {
  /** What goes to the disk with the command. */
  readonly dataOut?: Uint8Array | undefined;
  /** The disk is write-protected, and opened for reading only. */
  readonly readOnly?: boolean | undefined;
}

/**
 * Gives one SCSI command to the disk in a file (RawSCSIVirtualDisk). The file is opened for writing only for a command
 * that writes; what that wrote is durable when this returns.
 * @throws HvError what opening says: `not-found`, `in-use`, `corrupt`, `parent-changed`, `unsupported`, `permission-denied`,
 *   `aborted`. What the command itself meets is its result.
 */
export async function executeScsi(
  path: string,
  cdb: Uint8Array,
  options: ScsiCommandOptions = {},
): Promise<ScsiResult> {
  const { dataOut, readOnly = false, senseFormat, ...open } = options;
  const writeProtected = readOnly || !mayWrite(path);
  const disk = await openVhd(path, { ...open, readOnly: writeProtected || !isWritingCommand(cdb) });
  try {
    const target = new ScsiTarget(disk, {
      identity: identityOf(disk),
      writeProtected,
      ...(senseFormat === undefined ? {} : { senseFormat }),
    });
    return await target.execute(cdb, dataOut);
  } finally {
    await disk.close();
  }
}

function mayWrite(path: string): boolean {
  try {
    accessSync(path, constants.W_OK);
    return true;
  } catch {
    return false; // what keeps it from being opened at all is said by opening it
  }
}

/** A disk's own id; a raw file, which has none, is told apart by its place. */
function identityOf(disk: OpenDisk): DiskIdentity {
  const leaf = disk instanceof DiskChain ? disk.layers[0] : undefined;
  if (!leaf) {
    const path = disk instanceof DiskChain ? '' : disk.path;
    return { id: createHash('sha256').update(path).digest().subarray(0, 16), isThin: true };
  }
  return { id: Buffer.from(leaf.virtualDiskId.replaceAll('-', ''), 'hex'), isThin: leaf.type !== 'fixed' };
}
