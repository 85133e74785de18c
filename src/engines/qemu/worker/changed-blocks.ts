import { HvError } from '../../../errors/index.ts';
import type { DataPlane } from '../../../protocols/nbd/index.ts';
import { PIECES_AT_ONCE, type WorkerRequest } from './wire.ts';

type ChangesRequest = Extract<
  WorkerRequest,
  {
    op: 'change-tracking' | 'take-reference-point' | 'query-changes' | 'begin-backup' | 'backup-pieces' | 'end-backup';
  }
>;

/**
 * Changed blocks of a running machine's drives: the disks' thread knows them, and holds a moment for a backup.
 * @param gone fires when the asking connection ends: a backup that it began ends then
 */
export async function answerAboutChanges(
  dataPlane: DataPlane,
  request: ChangesRequest,
  gone: AbortSignal,
): Promise<unknown> {
  switch (request.op) {
    case 'change-tracking':
      return dataPlane.changeTracking(request.driveId, request.change);
    case 'take-reference-point':
      return { changeTrackingId: await dataPlane.takeReferencePoint(request.driveId) };
    case 'query-changes':
      return dataPlane.queryChanges(request.driveId, request.sinceId, request.options);
    case 'begin-backup': {
      // The working folder is the machine's data folder.
      const begun = await dataPlane.beginBackup(request.driveId, request.sinceId ?? undefined, '.');
      const end = (): void => {
        dataPlane.endBackup(begun.exportName).catch(() => {}); // the disks are closing, which ends it too
      };
      if (gone.aborted) end();
      else gone.addEventListener('abort', end, { once: true });
      return begun;
    }
    case 'backup-pieces':
      return { pieces: await dataPlane.backupPieces(request.exportName, request.first, PIECES_AT_ONCE) };
    case 'end-backup':
      await dataPlane.endBackup(request.exportName);
      return {};
    default:
      return request satisfies never;
  }
}

/** A backup ends with the worker that holds its moment: one that is under way is waited for. @throws HvError `in-use` */
export async function mustNotBeBackedUp(dataPlane: DataPlane): Promise<void> {
  if (!Object.keys(await dataPlane.stats()).some(isBackup)) return;
  throw new HvError('in-use', 'a disk of the machine is being backed up', { hint: 'Try again when that is done.' });
}

/** The disks' thread names the moment that it holds so. */
export function isBackup(exportName: string): boolean {
  return exportName.startsWith('backup-');
}
