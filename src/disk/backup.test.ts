import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { backupDisk } from './backup.ts';
import { enableChangeTracking } from './changed-blocks.ts';
import { createVhd } from './create-vhd.ts';
import { openChain, openVhd } from './open-vhd.ts';

const MIB = 2 ** 20;
let folder: string;
let path: string;
let target: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hv-backup-'));
  path = join(folder, 'disk.vhdx');
  target = join(folder, 'copy.vhdx');
  await createVhd(path, { sizeBytes: 32 * MIB, blockSizeBytes: MIB });
  await enableChangeTracking(path);
  await write(1, 0, 4 * MIB, 20 * MIB);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function write(value: number, ...offsets: number[]): Promise<void> {
  await using disk = openChain(path);
  for (const offset of offsets) disk.write(offset, new Uint8Array(MIB).fill(value), 0, MIB);
}

async function bytesOf(file: string): Promise<Buffer> {
  await using disk = await openVhd(file, { readOnly: true });
  const bytes = Buffer.alloc(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  return bytes;
}

/** Fires when so many bytes were copied. */
function abortAfter(copied: number): Parameters<typeof backupDisk>[2] {
  const abort = new AbortController();
  return {
    signal: abort.signal,
    onProgress: ({ done }) => {
      if (done >= copied) abort.abort();
    },
  };
}

const record = (): unknown => JSON.parse(readFileSync(`${target}.backup`, 'utf8'));

describe('a backup', () => {
  test('is the disk, and then the disk again', async () => {
    const full = await backupDisk(path, target);
    expect(full).toMatchObject({ kind: 'full', copiedBytes: 3 * MIB });
    expect(record()).toMatchObject({ state: 'complete', changeTrackingId: full.changeTrackingId });
    await write(2, 4 * MIB, 9 * MIB);
    {
      await using disk = openChain(path);
      disk.writeZeroes(0, MIB, true);
      disk.resize(40 * MIB);
    }
    const next = await backupDisk(path, target, { sinceId: String(full.changeTrackingId) });
    expect(next.copiedBytes).toBe(2 * MIB);
    expect((await bytesOf(target)).equals(await bytesOf(path))).toBe(true);
  });

  test('that is cut short leaves nothing, or a target that says so and takes the same again', async () => {
    await expect(backupDisk(path, target, abortAfter(1))).rejects.toMatchObject({ code: 'aborted' });
    expect(readdirSync(folder).sort()).toEqual(['disk.vhdx', 'disk.vhdx.rct']);
    const { changeTrackingId } = await backupDisk(path, target);
    const sinceId = String(changeTrackingId);
    await write(3, 0, 20 * MIB);
    await expect(backupDisk(path, target, { ...abortAfter(1), sinceId })).rejects.toMatchObject({ code: 'aborted' });
    expect(record()).toMatchObject({ state: 'incomplete', changeTrackingId: sinceId });
    await backupDisk(path, target, { sinceId });
    expect(record()).toMatchObject({ state: 'complete' });
    expect((await bytesOf(target)).equals(await bytesOf(path))).toBe(true);
  });

  test('that was killed is begun anew over what it left', async () => {
    writeFileSync(target, 'half of something');
    await expect(backupDisk(path, target)).rejects.toMatchObject({ code: 'already-exists' });
    const left = { schemaVersion: 1, state: 'incomplete', changeTrackingId: null, sizeBytes: 1, targetContentId: null };
    writeFileSync(`${target}.backup`, JSON.stringify({ ...left, time: '' }));
    await backupDisk(path, target);
    expect((await bytesOf(target)).equals(await bytesOf(path))).toBe(true);
  });

  test('goes only into the target that it belongs in', async () => {
    const { changeTrackingId } = await backupDisk(path, target);
    const sinceId = String(changeTrackingId);
    {
      await using disk = openChain(target);
      disk.write(0, new Uint8Array(512), 0, 512);
    }
    const refusal = { code: 'invalid-state', detail: { reason: 'target-changed' } };
    await expect(backupDisk(path, target, { sinceId })).rejects.toMatchObject(refusal);
    rmSync(`${target}.backup`);
    await expect(backupDisk(path, target, { sinceId })).rejects.toMatchObject({
      detail: { reason: 'target-incomplete' },
    });
    writeFileSync(`${target}.backup`, 'nonsense');
    await expect(backupDisk(path, target, { sinceId })).rejects.toMatchObject({ code: 'corrupt' });
  });

  test('of a disk that is not tracked, or into a folder that is not there, makes nothing', async () => {
    const other = join(folder, 'other.vhdx');
    await createVhd(other, { sizeBytes: 8 * MIB });
    await expect(backupDisk(other, target)).rejects.toMatchObject({ detail: { reason: 'tracking-off' } });
    await expect(backupDisk(path, join(folder, 'none', 'copy.raw'))).rejects.toMatchObject({ code: 'not-found' });
    expect(existsSync(target)).toBe(false);
  });
});
