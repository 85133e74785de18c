import { existsSync, statfsSync, unlinkSync } from 'node:fs';
import { dirname } from 'node:path';
import { type LongOptions, throttleProgress, throwIfAborted } from '../async/index.ts';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import type { ChangedRange } from '../formats/rct/index.ts';
import { type BackupRecord, readBackupRecord, removeBackupRecord, writeBackupRecord } from './backup-record.ts';
import { mustBeVhdx } from './changed-blocks.ts';
import { createVhd } from './create-vhd.ts';
import { DiskChain } from './disk-chain.ts';
import { formatOf } from './disk-format.ts';
import { openImageFile } from './open-file.ts';
import { type OpenDisk, openChain, openVhd } from './open-vhd.ts';

export interface BackupOptions extends LongOptions {
  /** The id that the target's last backup gave: only what changed since is copied, into that target. */
  readonly sinceId?: string | undefined;
  /** Where parents of the disk may lie, beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
  /** Check everything, make no id and no file, and answer what would be copied. */
  readonly dryRun?: boolean | undefined;
}

export interface BackupResult {
  readonly path: string;
  readonly targetPath: string;
  readonly kind: 'full' | 'incremental';
  /** For the next incremental backup into this target; null in a dry run. */
  readonly changeTrackingId: string | null;
  readonly sizeBytes: number;
  /** Read from the disk because it may have changed; of a full backup, what the disk holds. */
  readonly copiedBytes: number;
}

/** A run of the disk that is to be copied. */
export interface BackupPiece {
  readonly offset: number;
  readonly length: number;
  readonly isZero: boolean;
}

/** What a backup is made of: a disk at one moment. */
export interface BackupSource extends AsyncDisposable {
  readonly path: string;
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  /** The id that names the moment; null in a dry run. */
  readonly changeTrackingId: string | null;
  /** What is to be copied, ascending: all that is not zero, or all that may have changed. */
  pieces(): Iterable<BackupPiece>;
  read(offset: number, target: Uint8Array, length: number): Promise<void> | void;
}

const COPY_BYTES = 1 << 20;
const ZEROS = new Uint8Array(COPY_BYTES);

/**
 * Copies a tracked disk: all of it into a new file (raw or VHDX, by its ending), or with `sinceId` what changed since into
 * the file of the previous backup. The file beside the target, `<target>.backup`, says which id it stands at and whether
 * it is complete. What is cut short (an abort, a crash) is marked incomplete and can be run again.
 * @throws HvError `invalid-state` (detail.reason: `tracking-off`, `tracking-broken`, `target-incomplete`,
 *   `target-changed`, `target-mismatch`), `not-found` (detail.reason `unknown-id`, too), `already-exists` (the target),
 *   `unsupported` (not VHDX), `in-use`, `no-space`, `io`, `aborted`
 */
export async function backupDisk(path: string, targetPath: string, options: BackupOptions = {}): Promise<BackupResult> {
  throwIfAborted(options.signal, 'the backup');
  mustBeVhdx(path);
  checkTarget(targetPath, options.sinceId);
  await using source = await openSource(path, options);
  return await backupSource(source, targetPath, options);
}

/** What can be known of the target before the disk is looked at: nothing is named or sealed in vain. */
export function checkTarget(targetPath: string, sinceId: string | undefined): BackupRecord | undefined {
  formatOf(targetPath);
  const record = readBackupRecord(targetPath);
  if (sinceId === undefined) {
    const isUnfinished = record?.state === 'incomplete' && record.changeTrackingId === null;
    if (!existsSync(targetPath) || isUnfinished) return record;
    throw new HvError('already-exists', `${targetPath} is there already`, {
      detail: { path: targetPath },
      hint: record?.changeTrackingId
        ? `Bring it up to date with --since ${record.changeTrackingId}, or name another file.`
        : 'Name another file.',
    });
  }
  if (!existsSync(targetPath)) {
    throw new HvError('not-found', `${targetPath} is not there: only a backup can be brought up to date`, {
      detail: { path: targetPath },
      hint: 'Take a full backup first, without --since.',
    });
  }
  if (!record || record.changeTrackingId === null) {
    throw new HvError('invalid-state', `${targetPath} is not a complete backup`, {
      detail: { path: targetPath, reason: 'target-incomplete' },
      hint: 'Take a full backup, without --since.',
    });
  }
  if (record.changeTrackingId.toLowerCase() !== sinceId.toLowerCase()) {
    throw new HvError('invalid-state', `${targetPath} stands at another id: ${record.changeTrackingId}`, {
      detail: { path: targetPath, reason: 'target-mismatch', expected: record.changeTrackingId, found: sinceId },
      hint: 'Name the id that its last backup gave.',
    });
  }
  return record;
}

/** The backup itself, whatever the disk is read from. */
export async function backupSource(
  source: BackupSource,
  targetPath: string,
  options: BackupOptions,
): Promise<BackupResult> {
  const record = checkTarget(targetPath, options.sinceId);
  const { sizeBytes, changeTrackingId } = source;
  let copiedBytes = 0;
  if (options.dryRun === true) copiedBytes = dataBytes(source);
  else if (options.sinceId === undefined) copiedBytes = await copyWhole(source, targetPath, options);
  else copiedBytes = await copyChanges(source, targetPath, record, options);
  return {
    path: source.path,
    targetPath,
    kind: options.sinceId === undefined ? 'full' : 'incremental',
    changeTrackingId,
    sizeBytes,
    copiedBytes,
  };
}

async function copyWhole(source: BackupSource, targetPath: string, options: BackupOptions): Promise<number> {
  mustHaveRoom(source, targetPath);
  const { sizeBytes, logicalSectorSizeBytes, physicalSectorSizeBytes, changeTrackingId } = source;
  removeUnfinished(targetPath);
  writeBackupRecord(targetPath, {
    state: 'incomplete',
    changeTrackingId: null,
    sizeBytes,
    targetContentId: null,
  });
  let isMade = false;
  let target: OpenDisk | undefined;
  try {
    const isVhdx = formatOf(targetPath) === 'vhdx';
    await createVhd(targetPath, { sizeBytes, ...(isVhdx ? { logicalSectorSizeBytes, physicalSectorSizeBytes } : {}) });
    isMade = true;
    target = await openVhd(targetPath);
    const { copiedBytes, targetContentId } = await copyInto(source, target, options, true);
    writeBackupRecord(targetPath, { state: 'complete', changeTrackingId, sizeBytes, targetContentId });
    return copiedBytes;
  } catch (error) {
    await target?.close().catch(() => undefined); // what failed first is told
    if (isMade) removeUnfinished(targetPath);
    else removeBackupRecord(targetPath);
    throw error;
  }
}

async function copyChanges(
  source: BackupSource,
  targetPath: string,
  record: BackupRecord | undefined,
  options: BackupOptions,
): Promise<number> {
  const { sizeBytes, changeTrackingId } = source;
  const target = await openVhd(targetPath);
  try {
    mustBeAsLeft(target, targetPath, record);
    writeBackupRecord(targetPath, {
      state: 'incomplete',
      changeTrackingId: options.sinceId ?? null,
      sizeBytes: target.sizeBytes,
      targetContentId: null,
    });
    if (target.sizeBytes !== sizeBytes) resizeTarget(target, sizeBytes);
    const { copiedBytes, targetContentId } = await copyInto(source, target, options, false);
    writeBackupRecord(targetPath, { state: 'complete', changeTrackingId, sizeBytes, targetContentId });
    return copiedBytes;
  } catch (error) {
    await target.close().catch(() => undefined); // what failed first is told
    throw error;
  }
}

/** A target that somebody else wrote to is not what the changes belong on. */
function mustBeAsLeft(target: OpenDisk, targetPath: string, record: BackupRecord | undefined): void {
  if (record?.state !== 'complete' || record.targetContentId === null) return;
  const found = contentIdOf(target);
  if (found === record.targetContentId) return;
  throw new HvError('invalid-state', `${targetPath} was written to since its last backup`, {
    detail: { path: targetPath, reason: 'target-changed', expected: record.targetContentId, found },
    hint: 'Take a full backup to another file.',
  });
}

function contentIdOf(target: OpenDisk): string | null {
  return target instanceof DiskChain ? (target.layers[0]?.contentId ?? null) : null;
}

function resizeTarget(target: OpenDisk, sizeBytes: number): void {
  if (target instanceof DiskChain) {
    target.resize(sizeBytes);
    return;
  }
  throw new HvError('unsupported', `${target.path} has ${target.sizeBytes} bytes, its disk has ${sizeBytes} by now`, {
    detail: { path: target.path, sizeBytes, targetSizeBytes: target.sizeBytes },
    hint: 'Take a full backup to another file.',
  });
}

/** Copies and closes the target, durably. */
async function copyInto(
  source: BackupSource,
  target: OpenDisk,
  options: BackupOptions,
  isNew: boolean,
): Promise<{ readonly copiedBytes: number; readonly targetContentId: string | null }> {
  const report = throttleProgress(options.onProgress);
  const buffer = new Uint8Array(COPY_BYTES);
  const total = source.sizeBytes;
  let copiedBytes = 0;
  for (const { offset, length, isZero } of source.pieces()) {
    if (isZero) {
      if (!isNew) target.writeZeroes(offset, length, true);
      continue;
    }
    for (let done = 0; done < length; done += COPY_BYTES) {
      const count = Math.min(COPY_BYTES, length - done);
      await source.read(offset + done, buffer, count);
      const isEmpty = Buffer.compare(buffer.subarray(0, count), ZEROS.subarray(0, count)) === 0;
      if (!isEmpty) target.write(offset + done, buffer, 0, count);
      else if (!isNew) target.writeZeroes(offset + done, count, true);
      copiedBytes += count;
      report({ phase: 'backup', done: offset + done + count, total });
      // Lets an abort and everything else in the process have its turn.
      await new Promise(setImmediate);
      throwIfAborted(options.signal, 'the backup');
    }
  }
  await target.flush();
  const targetContentId = contentIdOf(target);
  await target.close();
  report({ phase: 'backup', done: total, total });
  return { copiedBytes, targetContentId };
}

function dataBytes(source: BackupSource): number {
  let sum = 0;
  for (const { length, isZero } of source.pieces()) if (!isZero) sum += length;
  return sum;
}

function mustHaveRoom(source: BackupSource, targetPath: string): void {
  const neededBytes = dataBytes(source);
  let freeBytes: number;
  try {
    const { bavail, bsize } = statfsSync(dirname(targetPath));
    freeBytes = bavail * bsize;
  } catch (error) {
    throw fromSystemError(error, `could not look at the folder of ${targetPath}`, { path: targetPath });
  }
  if (neededBytes <= freeBytes) return;
  throw new HvError('no-space', `no space for ${targetPath}: it needs ${neededBytes} bytes, ${freeBytes} are free`, {
    detail: { path: targetPath, neededBytes, freeBytes },
  });
}

/** Of a full backup that was cut short. Its file is nobody's while it says so, unless somebody has it open. */
function removeUnfinished(targetPath: string): void {
  if (existsSync(targetPath)) {
    openImageFile(targetPath, { access: 'write' }).store.close();
    try {
      unlinkSync(targetPath);
    } catch (error) {
      if (!isSystemError(error, 'ENOENT'))
        throw fromSystemError(error, `could not remove ${targetPath}`, { path: targetPath });
    }
  }
  removeBackupRecord(targetPath);
}

/** A disk that nobody writes to while it is copied: it stays locked for reading. */
async function openSource(path: string, options: BackupOptions): Promise<BackupSource> {
  const { sinceId, allowParents, signal } = options;
  const chain = openChain(path, { readOnly: true, allowParents, signal });
  try {
    const isReal = options.dryRun !== true;
    const query = { takeReferencePoint: isReal, maxRanges: Number.MAX_SAFE_INTEGER };
    const changes = sinceId === undefined ? undefined : chain.queryChanges(sinceId, query);
    let changeTrackingId = changes?.referencePointId ?? null;
    if (!changes && isReal) changeTrackingId = chain.takeReferencePoint();
    return {
      path,
      sizeBytes: chain.sizeBytes,
      logicalSectorSizeBytes: chain.logicalSectorSizeBytes,
      physicalSectorSizeBytes: chain.physicalSectorSizeBytes,
      changeTrackingId,
      pieces: () => piecesOf(chain, changes?.ranges),
      read: (offset, target, length) => chain.read(offset, target, 0, length),
      [Symbol.asyncDispose]: () => chain.close(),
    };
  } catch (error) {
    await chain.close();
    throw error;
  }
}

/** Of a whole disk only what is not zero; of changed ranges everything, zeros as such. */
export function* piecesOf(disk: DiskChain, ranges: readonly ChangedRange[] | undefined): Generator<BackupPiece> {
  const whole = [{ offsetBytes: 0, lengthBytes: disk.sizeBytes }];
  for (const { offsetBytes, lengthBytes } of ranges ?? whole) {
    for (const { offset, length, kind } of disk.extents(offsetBytes, lengthBytes)) {
      const isZero = kind !== 'data';
      if (ranges || !isZero) yield { offset, length, isZero };
    }
  }
}
