import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVhd, enableChangeTracking, openChain } from '../../src/disk/index.ts';
import { DataPlane, NbdReader } from '../../src/protocols/nbd/index.ts';
import { Command } from '../../src/protocols/nbd/wire.ts';
import { TestClient } from '../nbd/client.ts';

const MIB = 1024 * 1024;
const UNIT = 65536;

describe('changed blocks of a disk that is served', () => {
  let folder = '';
  let path = '';
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'hv-plane-rct-'));
    path = join(folder, 'disk.vhdx');
    await createVhd(path, { sizeBytes: 256 * MIB, blockSizeBytes: MIB });
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function serve(plane: DataPlane): Promise<TestClient> {
    await plane.addExport({ name: 'a', path });
    await plane.listen(join(folder, 's'));
    return TestClient.connect(join(folder, 's'), { name: 'a' });
  }

  it('are asked for while it is written to; tracking may be switched on then', async () => {
    await using plane = await DataPlane.start();
    const client = await serve(plane);
    expect(await plane.changeTracking('a')).toEqual({ enabled: false, newerChanges: false, mostRecentId: null });
    await client.write(0, Buffer.alloc(512, 1));
    const { mostRecentId } = await plane.changeTracking('a', 'enable');
    const first = mostRecentId ?? '';
    await client.write(5 * UNIT, Buffer.alloc(512, 2));
    const { ranges, referencePointId } = await plane.queryChanges('a', first, { takeReferencePoint: true });
    expect(ranges).toEqual([{ offsetBytes: 5 * UNIT, lengthBytes: UNIT }]);
    await client.write(7 * UNIT, Buffer.alloc(512, 3));
    expect((await plane.queryChanges('a', referencePointId ?? '')).ranges).toEqual([
      { offsetBytes: 7 * UNIT, lengthBytes: UNIT },
    ]);
    await plane.close();
    await using disk = openChain(path, { readOnly: true });
    expect(disk.queryChanges(first).ranges.map(({ offsetBytes }) => offsetBytes / UNIT)).toEqual([5, 7]);
  });

  it('a backup reads one moment, whatever is written and trimmed meanwhile', async () => {
    await enableChangeTracking(path);
    await using plane = await DataPlane.start();
    const client = await serve(plane);
    for (let block = 0; block < 8; block++) await client.write(block * 3 * MIB, Buffer.alloc(MIB, block + 1));
    const begun = await plane.beginBackup('a', undefined, folder);
    await expect(plane.beginBackup('a', undefined, folder)).rejects.toMatchObject({ code: 'in-use' });
    const pieces = await plane.backupPieces(begun.exportName, 0, 1000);
    expect(pieces.map(({ offset }) => offset / MIB)).toEqual([0, 3, 6, 9, 12, 15, 18, 21]);
    await client.write(100, Buffer.alloc(2 * MIB, 0xee));
    await client.request(Command.trim, 0, 6 * MIB, MIB);
    await client.request(Command.writeZeroes, 0, 9 * MIB + 700, 5000);
    await client.write(100 * MIB, Buffer.alloc(512, 0xee));
    await using reader = await NbdReader.connect(join(folder, 's'), begun.exportName);
    expect(reader.sizeBytes).toBe(256 * MIB);
    const bytes = Buffer.alloc(MIB);
    for (const [index, { offset, length, isZero }] of pieces.entries()) {
      expect({ length, isZero }).toEqual({ length: MIB, isZero: false });
      await reader.read(offset, bytes, length);
      expect(bytes.equals(Buffer.alloc(MIB, index + 1)), `piece ${index}`).toBe(true);
    }
    await expect(reader.read(100 * MIB, bytes, 512)).rejects.toMatchObject({ code: 'io' });
    await plane.endBackup(begun.exportName);
    // All of it counts as changed since.
    const { ranges } = await plane.queryChanges('a', begun.changeTrackingId);
    const told = ranges.map(({ offsetBytes, lengthBytes }) => [offsetBytes / UNIT, lengthBytes / UNIT]);
    expect(told).toEqual([
      [0, 33],
      [96, 16],
      [144, 1],
      [1600, 1],
    ]);
    expect(readdirSync(folder).filter((name) => name.includes('scratch'))).toEqual([]);
    expect((await client.read(6 * MIB, 512)).data[0]).toBe(0);
  });

  it('go on in the child that a snapshot puts on the disk, which an abandoned snapshot takes away again', async () => {
    const { mostRecentId } = await enableChangeTracking(path);
    await using plane = await DataPlane.start();
    const client = await serve(plane);
    const child = join(folder, 'layer.avhdx');
    await plane.prepareChild('a', child);
    expect(existsSync(`${child}.rct`)).toBe(true);
    await plane.abandonChild('a');
    expect(existsSync(`${child}.rct`)).toBe(false);
    await client.write(0, Buffer.alloc(512, 1));
    await plane.prepareChild('a', child);
    await plane.commitChild('a');
    const id = await plane.takeReferencePoint('a');
    await client.write(MIB, Buffer.alloc(512, 1));
    expect((await plane.queryChanges('a', id)).ranges).toEqual([{ offsetBytes: MIB, lengthBytes: UNIT }]);
    expect((await plane.queryChanges('a', mostRecentId ?? '')).ranges).toEqual([
      { offsetBytes: 0, lengthBytes: UNIT },
      { offsetBytes: MIB, lengthBytes: 512 },
    ]);
  });
});
