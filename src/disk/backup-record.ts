import { lstatSync, readFileSync } from 'node:fs';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { removeRecord, replaceRecord } from './record-file.ts';

/** What a backup's target is, in a file beside it. While anything is copied it says so: a target in between is no backup. */
export interface BackupRecord {
  readonly schemaVersion: 1;
  readonly state: 'incomplete' | 'complete';
  /** The id for the next backup; null in a first one that was not finished. */
  readonly changeTrackingId: string | null;
  readonly sizeBytes: number;
  /** The target's own content id when it was complete, where its format has one. */
  readonly targetContentId: string | null;
  readonly time: string;
}

const MAX_RECORD_BYTES = 64 * 1024;

export function backupRecordPath(targetPath: string): string {
  return `${targetPath}.backup`;
}

/** Undefined where there is none. @throws HvError `corrupt`, `permission-denied`, `io` */
export function readBackupRecord(targetPath: string): BackupRecord | undefined {
  const path = backupRecordPath(targetPath);
  let value: unknown;
  try {
    if (lstatSync(path).size > MAX_RECORD_BYTES) throw unsound(path);
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    if (error instanceof SyntaxError) throw unsound(path);
    throw fromSystemError(error, `could not read ${path}`, { path });
  }
  if (!isRecord(value)) throw unsound(path);
  return value;
}

/** @throws HvError `no-space`, `permission-denied`, `io` */
export function writeBackupRecord(targetPath: string, record: Omit<BackupRecord, 'schemaVersion' | 'time'>): void {
  const whole: BackupRecord = { schemaVersion: 1, ...record, time: new Date().toISOString() };
  replaceRecord(backupRecordPath(targetPath), `${JSON.stringify(whole, null, 2)}\n`, 0o640);
}

/** @throws HvError `permission-denied`, `io` */
export function removeBackupRecord(targetPath: string): void {
  removeRecord(backupRecordPath(targetPath));
}

function isRecord(value: unknown): value is BackupRecord {
  if (typeof value !== 'object' || value === null) return false;
  const fields = value as Record<string, unknown>;
  const isTextOrNull = (field: unknown): boolean => field === null || typeof field === 'string';
  return (
    fields.schemaVersion === 1 &&
    (fields.state === 'complete' || fields.state === 'incomplete') &&
    isTextOrNull(fields.changeTrackingId) &&
    isTextOrNull(fields.targetContentId) &&
    Number.isSafeInteger(fields.sizeBytes)
  );
}

function unsound(path: string): HvError {
  return new HvError('corrupt', `${path} is not the record of a backup`, {
    detail: { path, reason: 'backup-record', offset: 0, value: '' },
    hint: 'Take a full backup to another file.',
  });
}
