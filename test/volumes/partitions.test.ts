import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { BlockDevice } from '../../src/disk/index.ts';
import { moveGptBackup, openVhd, smallestSafeSize } from '../../src/disk/index.ts';
import { readPartitionTable } from '../../src/disk/volumes/partitions.ts';
import { isHvError } from '../../src/errors/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';
import { deviceOn } from './store-device.ts';
import { MIB, sparseFile, TemporaryFolder, tool } from './tools.ts';

async function withRaw<T>(path: string, use: (device: BlockDevice) => Promise<T> | T): Promise<T> {
  await using disk = await openVhd(path, { format: 'raw' });
  return await use(disk);
}

/** sgdisk's opinion of a disk: nothing when it is content. */
function problems(path: string): string {
  const said = tool('sgdisk', ['-v', path]);
  return said.includes('No problems found') ? '' : said;
}

/** Two partitions, 1 to 11 MiB and 11 to 24 MiB. */
function gptDisk(path: string, sizeBytes: number): void {
  sparseFile(path, sizeBytes);
  tool('sfdisk', ['-q', path], {
    input: 'label: gpt\nstart=2048, size=20480\nstart=22528, size=26624, name="zweite"\n',
  });
}

describe('the smallest safe size', () => {
  test('ends with the last partition and the second copy of a GPT', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('gpt.raw');
    gptDisk(path, 64 * MIB);
    expect(await withRaw(path, smallestSafeSize)).toBe(24 * MIB + 33 * 512);
    // A disk of exactly that size is one that sgdisk is content with.
    await withRaw(path, (disk) => moveGptBackup(disk, 24 * MIB + 33 * 512));
    truncateSync(path, 24 * MIB + 33 * 512);
    expect(problems(path)).toBe('');
    expect(await withRaw(path, smallestSafeSize)).toBe(24 * MIB + 33 * 512);
  });

  test('of a GPT without partitions keeps the table alone', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('empty.raw');
    sparseFile(path, 64 * MIB);
    tool('sfdisk', ['-q', path], { input: 'label: gpt\n' });
    expect(await withRaw(path, smallestSafeSize)).toBe((2048 + 33) * 512);
  });

  test('counts logical partitions of an MBR', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('mbr.raw');
    sparseFile(path, 64 * MIB);
    tool('sfdisk', ['-q', path], {
      input: 'label: dos\n2048,8192,83\n16384,65536,5\n18432,8192,83\n28672,4096,7\n',
    });
    const table = await withRaw(path, readPartitionTable);
    expect(table).toEqual({
      kind: 'mbr',
      partitions: [
        { offset: 2048 * 512, sizeBytes: 8192 * 512, type: '83' },
        { offset: 16384 * 512, sizeBytes: 65536 * 512, type: '05' },
        { offset: 18432 * 512, sizeBytes: 8192 * 512, type: '83' },
        { offset: 28672 * 512, sizeBytes: 4096 * 512, type: '07' },
      ],
    });
    expect(await withRaw(path, smallestSafeSize)).toBe((16384 + 65536) * 512);
  });

  test.each([
    ['mkfs.ext4', ['-q', '-F'], '20m', 20 * MIB],
    ['mkfs.fat', ['-F', '16'], '20480', 20 * MIB],
    ['mkfs.ntfs', ['-F', '-f', '-q', '-s', '512'], `${(20 * MIB) / 512}`, 20 * MIB],
  ] as const)(
    'of a disk that %s fills in part is the size of the file system',
    async (program, args, size, expected) => {
      using folder = new TemporaryFolder();
      const path = folder.file('bare.raw');
      sparseFile(path, 48 * MIB);
      tool(program, [...args, path, size]);
      expect(await withRaw(path, smallestSafeSize)).toBe(expected);
    },
  );

  test('of unknown contents ends with the last byte that is not zero', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('unknown.raw');
    sparseFile(path, 48 * MIB);
    expect(await withRaw(path, smallestSafeSize)).toBe(0);
    const byte = Uint8Array.of(1);
    await withRaw(path, (disk) => disk.write(9 * MIB + 700, byte, 0, 1));
    await withRaw(path, (disk) => disk.write(30 * MIB, new Uint8Array(MIB), 0, MIB));
    expect(await withRaw(path, smallestSafeSize)).toBe(9 * MIB + 1024);
  });

  test('of what hv knows by name only is the whole disk', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('swap.raw');
    sparseFile(path, 8 * MIB);
    tool('mkswap', [path]);
    expect(await withRaw(path, smallestSafeSize)).toBe(8 * MIB);
  });

  test('of a GPT whose copies are both damaged is the end of the data', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('damaged.raw');
    gptDisk(path, 64 * MIB);
    await withRaw(path, (disk) => {
      for (const offset of [512, 64 * MIB - 512]) disk.write(offset + 40, Uint8Array.of(77), 0, 1);
      disk.write(40 * MIB, Uint8Array.of(1), 0, 1);
    });
    expect(await withRaw(path, smallestSafeSize)).toBe(64 * MIB);
  });
});

describe('the second copy of a GPT', () => {
  test('goes to the end of a disk that has grown, and sgdisk finds no problem', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('grown.raw');
    gptDisk(path, 64 * MIB);
    const before = tool('sgdisk', ['-i', '2', path]);
    truncateSync(path, 100 * MIB);
    expect(problems(path)).not.toBe('');
    expect(await withRaw(path, (disk) => moveGptBackup(disk, 100 * MIB))).toBe(true);
    expect(problems(path)).toBe('');
    expect(tool('sgdisk', ['-i', '2', path])).toBe(before);
    expect(tool('sgdisk', ['-p', path])).toContain('last usable sector is 204766');
    // The protective record covers the new disk, and the old copy's header is gone.
    const bytes = readFileSync(path);
    expect(bytes.readUInt32LE(446 + 12)).toBe((100 * MIB) / 512 - 1);
    expect(bytes.subarray(64 * MIB - 512, 64 * MIB).every((byte) => byte === 0)).toBe(true);
    expect(await withRaw(path, (disk) => moveGptBackup(disk, 100 * MIB))).toBe(false);
  });

  test('goes where the disk will end before it shrinks', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('shrunk.raw');
    gptDisk(path, 64 * MIB);
    await withRaw(path, (disk) => moveGptBackup(disk, 30 * MIB));
    truncateSync(path, 30 * MIB);
    expect(problems(path)).toBe('');
  });

  test('is what a damaged first copy is made from', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('half.raw');
    gptDisk(path, 64 * MIB);
    await withRaw(path, (disk) => {
      disk.write(512, new Uint8Array(33 * 512), 0, 33 * 512);
    });
    await withRaw(path, (disk) => moveGptBackup(disk, 40 * MIB));
    truncateSync(path, 40 * MIB);
    expect(problems(path)).toBe('');
    expect(tool('sgdisk', ['-i', '2', path])).toContain('zweite');
  });

  test('is not put over a partition, nor past the end', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('small.raw');
    gptDisk(path, 64 * MIB);
    const before = readFileSync(path);
    for (const size of [24 * MIB + 32 * 512, 12 * MIB, 100 * MIB]) {
      const failure = await withRaw(path, (disk) => moveGptBackup(disk, size)).catch((error: unknown) => error);
      expect(isHvError(failure, 'invalid-argument')).toBe(true);
    }
    expect(readFileSync(path).equals(before)).toBe(true);
    sparseFile(path, 8 * MIB);
    expect(await withRaw(path, (disk) => moveGptBackup(disk, 8 * MIB))).toBe(false);
  });

  test.each([
    ['grows', 32 * MIB, 33 * MIB],
    ['grows by a sector', 32 * MIB, 32 * MIB + 512],
    ['shrinks', 32 * MIB, 25 * MIB],
  ] as const)('survives death and power cut at every moment while the disk %s', async (_title, oldSize, newSize) => {
    using folder = new TemporaryFolder();
    const path = folder.file('crash.raw');
    gptDisk(path, oldSize);
    const initial = new MemoryStore(readFileSync(path));
    initial.setSize(Math.max(oldSize, newSize));
    const store = new FaultStore(initial);
    await moveGptBackup(deviceOn(store), newSize);
    const random = seededRandom(3);
    const replay = store.replayer();
    const wanted = readPartitionTable(deviceOn(initial));
    expect(wanted.kind).toBe('gpt');
    for (let events = 0; events <= store.events.length; events++) {
      replay.advance(events);
      for (let round = 0; round < 8; round++) {
        const content = round === 0 ? replay.content() : replay.afterPowerCut(random);
        const found = readPartitionTable(deviceOn(content));
        expect(found).toMatchObject({ kind: 'gpt', partitions: wanted.kind === 'gpt' ? wanted.partitions : [] });
        // Run again, it comes to the same end.
        await moveGptBackup(deviceOn(content), newSize);
        content.setSize(newSize);
        const again = folder.file('again.raw');
        if (round === 0 && events % 3 === 0) {
          writeFileSync(again, toBytes(content));
          expect(problems(again)).toBe('');
        }
      }
    }
  });
});

function toBytes(store: MemoryStore): Uint8Array {
  const bytes = new Uint8Array(store.size());
  store.read(0, bytes, 0, bytes.length);
  return bytes;
}
