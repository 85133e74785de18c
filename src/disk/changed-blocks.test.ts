import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  changeTrackingState,
  disableChangeTracking,
  enableChangeTracking,
  queryChanges,
  takeReferencePoint,
} from './changed-blocks.ts';
import { createVhd } from './create-vhd.ts';
import { mergeIntoParent } from './merge.ts';
import { openChain } from './open-vhd.ts';

const MIB = 2 ** 20;
const UNIT = 64 * 1024;
let folder: string;
let path: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'hv-rct-'));
  path = join(folder, 'disk.vhdx');
  await createVhd(path, { sizeBytes: 256 * MIB, blockSizeBytes: MIB });
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function write(file: string, ...offsets: number[]): Promise<void> {
  await using disk = openChain(file);
  for (const offset of offsets) disk.write(offset, new Uint8Array(512).fill(7), 0, 512);
}

const units = (...indexes: number[]) => indexes.map((index) => ({ offsetBytes: index * UNIT, lengthBytes: UNIT }));

describe('changed blocks', () => {
  test('are those that were written since an id', async () => {
    expect(await changeTrackingState(path)).toEqual({ enabled: false, newerChanges: false, mostRecentId: null });
    const { mostRecentId } = await enableChangeTracking(path);
    expect(mostRecentId).toMatch(/^rctX:[0-9a-f]{8}:[0-9a-f]{4}:[0-9a-f]{4}:[0-9a-f]{4}:[0-9a-f]{12}:00000001$/);
    const first = mostRecentId ?? '';
    await write(path, 0, 5 * UNIT + 512);
    expect(await changeTrackingState(path)).toEqual({ enabled: true, newerChanges: true, mostRecentId });
    const changes = await queryChanges(path, first, { takeReferencePoint: true });
    expect(changes.ranges).toEqual(units(0, 5));
    expect(changes.processedLengthBytes).toBe(256 * MIB);
    const second = changes.referencePointId ?? '';
    expect(await changeTrackingState(path)).toEqual({ enabled: true, newerChanges: false, mostRecentId: second });
    await write(path, 9 * UNIT);
    expect((await queryChanges(path, second)).ranges).toEqual(units(9));
    expect((await queryChanges(path, first)).ranges).toEqual(units(0, 5, 9));
  });

  test('are asked for in parts', async () => {
    const { mostRecentId } = await enableChangeTracking(path);
    await write(path, 0, 2 * UNIT, 4 * UNIT);
    const since = mostRecentId ?? '';
    expect(await queryChanges(path, since, { maxRanges: 2 })).toEqual({
      ranges: units(0, 2),
      processedLengthBytes: 4 * UNIT,
      referencePointId: null,
    });
    expect((await queryChanges(path, since, { offsetBytes: 2 * UNIT + 512, lengthBytes: 1024 })).ranges).toEqual([
      { offsetBytes: 2 * UNIT + 512, lengthBytes: 1024 },
    ]);
    await expect(queryChanges(path, since, { offsetBytes: 256 * MIB, lengthBytes: 1 })).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  });

  test('of a differencing disk are its own and, for an id of its parent, all that it holds', async () => {
    const { mostRecentId } = await enableChangeTracking(path);
    const base = mostRecentId ?? '';
    await write(path, 3 * UNIT);
    const child = join(folder, 'child.vhdx');
    await createVhd(child, { parentPath: path });
    await write(child, 8 * UNIT + 4096);
    expect((await queryChanges(child, base)).ranges).toEqual([
      ...units(3),
      { offsetBytes: 8 * UNIT + 4096, lengthBytes: 512 },
    ]);
    await expect(takeReferencePoint(child)).rejects.toMatchObject({ detail: { reason: 'tracking-off' } });
    const own = (await enableChangeTracking(child)).mostRecentId ?? '';
    await write(child, 20 * UNIT);
    expect((await queryChanges(child, own)).ranges).toEqual(units(20));
    await mergeIntoParent(child);
    expect((await queryChanges(path, base)).ranges).toEqual(units(3, 8, 20));
  });

  test('of a child that is put on an open disk are tracked from the start', async () => {
    const { mostRecentId } = await enableChangeTracking(path);
    const child = join(folder, 'layer.avhdx');
    {
      await using disk = openChain(path);
      disk.write(0, new Uint8Array(512).fill(1), 0, 512);
      disk.prepareChild(child);
      await disk.commitChild();
      const id = disk.takeReferencePoint();
      disk.write(UNIT, new Uint8Array(512).fill(2), 0, 512);
      expect(disk.queryChanges(id).ranges).toEqual(units(1));
      expect(disk.queryChanges(mostRecentId ?? '').ranges).toEqual([{ offsetBytes: 0, lengthBytes: UNIT + 512 }]);
    }
    expect(await changeTrackingState(child)).toMatchObject({ enabled: true, newerChanges: true });
    expect(await changeTrackingState(path)).toEqual({ enabled: true, newerChanges: true, mostRecentId });
  });

  test('of a parent that is written to under an open child are tracked on', async () => {
    const { mostRecentId } = await enableChangeTracking(path);
    const since = mostRecentId ?? '';
    {
      await using disk = openChain(path);
      disk.write(0, new Uint8Array(512).fill(1), 0, 512);
      disk.prepareChild(join(folder, 'layer.avhdx'));
      await disk.commitChild();
      // As a merge does: twice, with an end of writing in between.
      for (const unit of [5, 9]) {
        disk.makeWritable(1).write(unit * UNIT, new Uint8Array(512).fill(2), 0, 512);
        disk.makeReadOnly(1);
      }
    }
    expect((await queryChanges(path, since)).ranges).toEqual(units(0, 5, 9));
  });

  test('an id that was never made, or that was thrown away, is not known', async () => {
    const { mostRecentId } = await enableChangeTracking(path);
    await disableChangeTracking(path);
    await expect(queryChanges(path, mostRecentId ?? '')).rejects.toMatchObject({
      code: 'invalid-state',
      detail: { reason: 'tracking-off' },
    });
    await enableChangeTracking(path);
    await expect(queryChanges(path, mostRecentId ?? '')).rejects.toMatchObject({
      code: 'not-found',
      detail: { reason: 'unknown-id' },
    });
    await expect(queryChanges(path, 'nonsense')).rejects.toMatchObject({ code: 'invalid-argument' });
  });

  test('a raw disk has none', async () => {
    const raw = join(folder, 'disk.raw');
    await createVhd(raw, { sizeBytes: MIB });
    expect(await changeTrackingState(raw)).toMatchObject({ enabled: false });
    await expect(enableChangeTracking(raw)).rejects.toMatchObject({ code: 'unsupported' });
    await expect(queryChanges(raw, '')).rejects.toMatchObject({ code: 'unsupported' });
  });
});
