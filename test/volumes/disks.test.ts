import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compactVhd, createVhd, openVhd } from '../../src/disk/index.ts';
import { findVolumes } from '../../src/disk/volumes/find-volumes.ts';
import { encodeGpt, GPT_TYPE, gptUsableSectors } from '../../src/formats/gpt/index.ts';
import { importFile } from './compact-suite.ts';
import { KINDS, makeVolume, type VolumeKind } from './file-systems.ts';
import { MIB, sparseFile, TemporaryFolder, tool } from './tools.ts';

function kindOf(title: string): VolumeKind {
  const kind = KINDS.find((candidate) => candidate.title === title);
  if (!kind) throw new Error(`no kind ${title}`);
  return kind;
}

describe('disks of several volumes', () => {
  test('are compacted where each is clean: an MBR with a logical partition, one volume dirty', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    const table = folder.file('table.raw');
    const volume = folder.file('volume.raw');
    await createVhd(path, { sizeBytes: 160 * MIB, blockSizeBytes: MIB });
    sparseFile(table, 160 * MIB);
    const mib = (value: number): number => value * 2048;
    tool('sfdisk', ['-q', table], {
      input: `label: dos\nstart=${mib(1)}, size=${mib(24)}, type=7\nstart=${mib(26)}, size=${mib(130)}, type=5\nstart=${mib(27)}, size=${mib(64)}, type=83\nstart=${mib(100)}, size=${mib(8)}, type=1\n`,
    });
    {
      await using disk = await openVhd(path);
      await importFile(table, disk, 0);
      for (const [title, start] of [
        ['NTFS of 512 byte clusters', 1],
        ['ext3', 27],
        ['FAT12', 100],
      ] as const) {
        makeVolume(kindOf(title), volume, true);
        await importFile(volume, disk, start * MIB);
      }
      disk.write(100 * MIB + 0x25, Uint8Array.of(1), 0, 1);
    }
    const result = await compactVhd(path);
    expect(result.volumes.map(({ offset, kind, state, used }) => [offset / MIB, kind, state, used])).toEqual([
      [1, 'ntfs', 'clean', true],
      [27, 'ext3', 'clean', true],
      [100, 'fat12', 'dirty', false],
    ]);
    // The dirty one keeps all of its 8 MiB.
    expect(result.fileSizeBytesAfter).toBeLessThan(45 * MIB);
    expect(result.fileSizeBytesAfter).toBeGreaterThan(12 * MIB);
    expect((await compactVhd(path)).freedFileSystemBytes).toBe(0);
  });

  test.each(['a Windows', 'a Linux'])('are left alone where %s sleeps in one of them', async (system) => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.raw');
    const volume = folder.file('volume.raw');
    sparseFile(path, 80 * MIB);
    tool('sfdisk', ['-q', path], { input: 'label: gpt\nstart=2048, size=49152\nstart=51200, size=16384\n' });
    {
      await using disk = await openVhd(path);
      sparseFile(volume, 24 * MIB);
      if (system === 'a Windows') {
        tool('mkfs.ntfs', ['-F', '-f', '-q', volume]);
        writeFileSync(folder.file('hiberfil'), 'hibr');
        tool('ntfscp', ['-q', volume, folder.file('hiberfil'), 'hiberfil.sys']);
      } else {
        tool('mkswap', [volume]);
      }
      await importFile(volume, disk, MIB);
      if (system === 'a Linux') disk.write(MIB + 4086, Buffer.from('S1SUSPEND\0'), 0, 10);
      makeVolume(kindOf('FAT12'), volume);
      await importFile(volume, disk, 25 * MIB);
    }
    await using disk = await openVhd(path, { readOnly: true });
    expect(findVolumes(disk)).toMatchObject([
      { state: 'hibernated' },
      { kind: 'fat12', state: 'hibernated', freeBytes: null, why: 'a system sleeps in another volume of its disk' },
    ]);
  });

  test('of 4096 byte sectors are read by those', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    const volume = folder.file('volume.raw');
    await createVhd(path, { sizeBytes: 64 * MIB, blockSizeBytes: MIB, logicalSectorSizeBytes: 4096 });
    {
      await using disk = await openVhd(path);
      const usable = gptUsableSectors(64 * MIB, 4096);
      const partition = {
        typeId: GPT_TYPE.linuxData,
        partitionId: '00112233-4455-6677-8899-aabbccddeeff',
        firstSector: 256,
        lastSector: usable.last,
        name: 'data',
      };
      const diskId = '11111111-2222-3333-4444-555555555555';
      for (const { offset, bytes } of encodeGpt({
        diskId,
        diskSizeBytes: 64 * MIB,
        sectorSizeBytes: 4096,
        partitions: [partition],
      })) {
        disk.write(offset, bytes, 0, bytes.length);
      }
      makeVolume({ ...kindOf('ext4 without 64bit'), sizeBytes: 40 * MIB }, volume, true);
      await importFile(volume, disk, MIB);
    }
    const result = await compactVhd(path);
    expect(result.volumes).toMatchObject([{ offset: MIB, kind: 'ext4', used: true }]);
    expect(result.fileSizeBytesBefore - result.fileSizeBytesAfter).toBeGreaterThan(20 * MIB);
  });
});
