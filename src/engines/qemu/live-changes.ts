import {
  type BackupOptions,
  type BackupPiece,
  type BackupResult,
  type BackupSource,
  backupSource,
  type ChangeTrackingInfo,
  checkTarget,
  type DiskChanges,
  type FileQueryOptions,
} from '../../disk/index.ts';
import { HvError } from '../../errors/index.ts';
import { NbdReader } from '../../protocols/nbd/index.ts';
import type { ControlClient } from './control/client.ts';
import { SOCKETS } from './sockets.ts';
import { order } from './worker/client.ts';
import {
  begunBackupSchema,
  changesSchema,
  changeTrackingSchema,
  PIECES_AT_ONCE,
  piecesSchema,
  referencePointSchema,
} from './worker/wire.ts';

/** A drive of a running machine: its worker has the disk, and answers for it. */
export interface LiveDrive {
  readonly worker: ControlClient;
  readonly driveId: string;
  readonly runFolder: string;
}

export function liveChangeTracking(
  { worker, driveId }: LiveDrive,
  change: 'enable' | 'disable' | null,
): Promise<ChangeTrackingInfo> {
  return worker.ask(order({ op: 'change-tracking', driveId, change }), changeTrackingSchema);
}

export async function liveReferencePoint({ worker, driveId }: LiveDrive): Promise<string> {
  const { changeTrackingId } = await worker.ask(order({ op: 'take-reference-point', driveId }), referencePointSchema);
  return changeTrackingId;
}

export function liveQueryChanges(
  { worker, driveId }: LiveDrive,
  sinceId: string,
  { offsetBytes, lengthBytes, maxRanges, takeReferencePoint, signal }: FileQueryOptions,
): Promise<DiskChanges> {
  const options = { offsetBytes, lengthBytes, maxRanges, takeReferencePoint };
  return worker.ask(order({ op: 'query-changes', driveId, sinceId, options }), changesSchema, { signal });
}

/**
 * A backup of a disk while its machine runs: the disk as it was at one moment, as after a power cut. The worker puts
 * aside what the guest overwrites meanwhile.
 */
export async function liveBackup(
  drive: LiveDrive,
  path: string,
  targetPath: string,
  options: BackupOptions,
): Promise<BackupResult> {
  checkTarget(targetPath, options.sinceId);
  if (options.dryRun === true) return previewBackup(drive, path, targetPath, options);
  await using source = await openLiveSource(drive, path, options);
  return await backupSource(source, targetPath, options);
}

/** Without an id, what a full backup would copy is not known: at most all of it. */
async function previewBackup(
  drive: LiveDrive,
  path: string,
  targetPath: string,
  { sinceId, signal }: BackupOptions,
): Promise<BackupResult> {
  if (sinceId === undefined) {
    throw new HvError('unsupported', `what a full backup of ${path} would copy is not known while its machine runs`, {
      detail: { path },
    });
  }
  const { ranges, processedLengthBytes: sizeBytes } = await liveQueryChanges(drive, sinceId, { signal });
  const copiedBytes = ranges.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
  return { path, targetPath, kind: 'incremental', changeTrackingId: null, sizeBytes, copiedBytes };
}

async function openLiveSource(drive: LiveDrive, path: string, options: BackupOptions): Promise<BackupSource> {
  const { worker, driveId, runFolder } = drive;
  const { signal, sinceId = null } = options;
  const begun = await worker.ask(order({ op: 'begin-backup', driveId, sinceId }), begunBackupSchema, { signal });
  const { exportName } = begun;
  const end = async (): Promise<void> => {
    await worker.call(order({ op: 'end-backup', exportName })).catch(() => undefined); // it ends with the connection too
  };
  try {
    const pieces: BackupPiece[] = [];
    while (pieces.length < begun.pieceCount) {
      const call = order({ op: 'backup-pieces', exportName, first: pieces.length });
      const { pieces: more } = await worker.ask(call, piecesSchema, { signal });
      if (more.length === 0 || more.length > PIECES_AT_ONCE) throw malformed();
      for (const piece of more) pieces.push(piece);
    }
    mustAscend(pieces, begun.sizeBytes);
    const reader = await NbdReader.connect(`${runFolder}/${SOCKETS.nbd}`, exportName);
    return {
      path,
      sizeBytes: begun.sizeBytes,
      logicalSectorSizeBytes: begun.logicalSectorSizeBytes,
      physicalSectorSizeBytes: begun.physicalSectorSizeBytes,
      changeTrackingId: begun.changeTrackingId,
      pieces: () => pieces,
      read: (offset, target, length) => reader.read(offset, target, length),
      [Symbol.asyncDispose]: async () => {
        await reader.close();
        await end();
      },
    };
  } catch (error) {
    await end();
    throw error;
  }
}

/** The worker runs with less privilege than this side: what it says is held to the disk that it names. */
function mustAscend(pieces: readonly BackupPiece[], sizeBytes: number): void {
  let reached = 0;
  for (const { offset, length } of pieces) {
    if (offset < reached || length === 0 || offset + length > sizeBytes) throw malformed();
    reached = offset + length;
  }
}

function malformed(): HvError {
  return new HvError('protocol', 'what the worker says of the backup is malformed');
}
