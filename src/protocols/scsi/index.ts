/**
 * scsi: a virtual disk that is spoken to in SCSI commands (SPC-4, SBC-3), as VirtDisk's RawSCSIVirtualDisk does.
 *
 *   cdb, data out -> ScsiTarget -> command-table -> inquiry | capacity | mode-pages | transfers | provisioning | reports
 *                 <- status, sense data, data in                                       -> BlockDevice (disk/)
 *
 * Pure and synchronous but for flushes; no transport, no initiator. Must not import formats, host, engines or model.
 */
export type { DiskIdentity } from './command.ts';
export { executeScsi, type ScsiCommandOptions } from './execute.ts';
export { describeSense, type Sense, type SenseFormat } from './sense.ts';
export { isWritingCommand, type ScsiResult, ScsiTarget, type ScsiTargetOptions } from './target.ts';
