import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createVhd, enableChangeTracking, openVhd, vhdInfo } from './index.ts';

const MIB = 1024 * 1024;
const MICROSOFT = 'ec984aec-a0f9-47e9-901f-71415a66345b';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-info-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const at = (name: string): string => join(folder, name);

async function write(path: string, ...blocks: readonly number[]): Promise<void> {
  const disk = await openVhd(path);
  for (const block of blocks) disk.write(block * 2 * MIB, new Uint8Array(512).fill(1), 0, 512);
  await disk.close();
}

describe('vhdInfo answers every query of GetVirtualDiskInformation', () => {
  test('for a VHDX and its child', async () => {
    await createVhd(at('base.vhdx'), { sizeBytes: 64 * MIB, blockSizeBytes: 2 * MIB });
    await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
    const base = await vhdInfo(at('base.vhdx'));
    const child = await vhdInfo(at('child.vhdx'));
    expect(base).toMatchObject({
      storageType: { deviceId: 3, vendorId: MICROSOFT },
      providerSubtype: 3,
      is4kAligned: true,
      virtualDiskId: base.identifier,
      parentLocations: [],
      parentIdentifier: null,
      parentTimestamp: null,
      isLoaded: false,
      changeTracking: { enabled: false, newerChanges: false, mostRecentId: null },
      fragmentationPercent: null,
      smallestSafeSizeBytes: null,
    });
    expect(child).toMatchObject({
      providerSubtype: 4,
      virtualDiskId: base.virtualDiskId,
      parentIdentifier: base.dataWriteGuid,
      parentPath: at('base.vhdx'),
      parentLocations: ['.\\base.vhdx', at('base.vhdx').replaceAll('/', '\\')],
    });
    const disk = await openVhd(at('base.vhdx'));
    expect(await vhdInfo(at('base.vhdx'), { all: true })).toMatchObject({
      isLoaded: true,
      smallestSafeSizeBytes: null,
    });
    await disk.close();
    const { mostRecentId } = await enableChangeTracking(at('base.vhdx'));
    expect(await vhdInfo(at('base.vhdx'))).toMatchObject({ changeTracking: { enabled: true, mostRecentId } });
  });

  test('for a VHD, a fixed disk and a raw file', async () => {
    await createVhd(at('base.vhd'), { sizeBytes: 64 * MIB });
    await createVhd(at('child.vhd'), { parentPath: at('base.vhd') });
    await createVhd(at('fixed.vhd'), { sizeBytes: 4 * MIB, type: 'fixed' });
    await createVhd(at('disk.img'), { sizeBytes: 4 * MIB });
    const { identifier } = await vhdInfo(at('base.vhd'));
    const child = await vhdInfo(at('child.vhd'));
    expect(child).toMatchObject({
      storageType: { deviceId: 2, vendorId: MICROSOFT },
      providerSubtype: 4,
      is4kAligned: null,
      parentIdentifier: identifier,
      parentTimestamp: expect.stringMatching(/^20\d\d-.*Z$/),
    });
    expect(Math.abs(Date.parse(child.parentTimestamp ?? '') - Date.now())).toBeLessThan(120_000);
    expect(await vhdInfo(at('fixed.vhd'))).toMatchObject({ providerSubtype: 2, is4kAligned: true });
    expect((await vhdInfo(at('child.vhd'), { all: true })).is4kAligned).not.toBeNull();
    expect(await vhdInfo(at('disk.img'), { all: true })).toMatchObject({
      storageType: { deviceId: 0, vendorId: '00000000-0000-0000-0000-000000000000' },
      providerSubtype: null,
      fragmentationPercent: null,
      smallestSafeSizeBytes: 0,
    });
  });

  test.each(['disk.vhdx', 'disk.vhd'])('how much of %s lies out of order, and how small it may be', async (name) => {
    const path = at(name);
    await createVhd(path, { sizeBytes: 64 * MIB, blockSizeBytes: 2 * MIB });
    const all = async (): Promise<object> => vhdInfo(path, { all: true });
    expect(await all()).toMatchObject({ fragmentationPercent: 0, smallestSafeSizeBytes: 0, is4kAligned: true });
    await write(path, 0, 1, 5, 9);
    expect(await all()).toMatchObject({ fragmentationPercent: 0, smallestSafeSizeBytes: 18 * MIB + 512 });
    // Before the others on the disk, behind them in the file: it and the one after it are out of order.
    await write(path, 3);
    expect(await all()).toMatchObject({ fragmentationPercent: 40 });
  });

  test('whether somebody has it open, be it for reading only or under a disk that stands on it', async () => {
    await createVhd(at('base.vhdx'), { sizeBytes: 64 * MIB });
    await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
    const states = async () =>
      Promise.all(['base.vhdx', 'child.vhdx'].map(async (name) => (await vhdInfo(at(name))).isLoaded));
    const reader = await openVhd(at('base.vhdx'), { readOnly: true });
    expect(await states()).toEqual([true, false]);
    expect((await vhdInfo(at('base.vhdx'))).inUse).toBe(false);
    const child = await openVhd(at('child.vhdx'), { readOnly: true });
    await reader.close();
    expect(await states()).toEqual([true, true]);
    await child.close();
    expect(await states()).toEqual([false, false]);
    // Two that look at the same time do not take each other for users.
    const both = await Promise.all([vhdInfo(at('base.vhdx')), vhdInfo(at('base.vhdx'))]);
    expect(both.map(({ isLoaded }) => isLoaded)).toEqual([false, false]);
  });

  test('of a child without its parent, what its file alone tells', async () => {
    await createVhd(at('base.vhdx'), { sizeBytes: 64 * MIB });
    await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
    rmSync(at('base.vhdx'));
    expect(await vhdInfo(at('child.vhdx'), { all: true })).toMatchObject({
      parentFound: false,
      smallestSafeSizeBytes: null,
    });
  });
});
