import { cpSync, existsSync, readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { createVhd, mergeVhd, openVhd } from '../../src/disk/index.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';
import { dieAfter } from './dying-files.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 6 * MIB;

async function contentOf(path: string): Promise<Buffer> {
  const disk = await openVhd(path, { readOnly: true });
  const bytes = Buffer.alloc(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  await disk.close();
  return bytes;
}

async function fill(path: string, offset: number, length: number, value: number): Promise<void> {
  const disk = await openVhd(path);
  disk.write(offset, new Uint8Array(length).fill(value), 0, length);
  await disk.close();
}

/** Dies at every `every`-th change of a file while two files are merged into a third under a disk that stands on them. */
export function defineMergeDeaths(format: 'vhdx' | 'vhd', every: number): void {
  test(`a merge of ${format} files that dies at any change of a file loses nothing, and goes on`, async () => {
    using base = new TemporaryFolder();
    const nameOf = (folder: TemporaryFolder, name: string): string => folder.file(`${name}.${format}`);
    await createVhd(nameOf(base, '0'), { sizeBytes: SIZE_BYTES });
    await fill(nameOf(base, '0'), 0, 3 * MIB, 1);
    for (const [name, parent, offset] of [
      ['1', '0', MIB],
      ['2', '1', 2 * MIB],
      ['leaf', '2', 5 * MIB],
    ] as const) {
      await createVhd(nameOf(base, name), { parentPath: nameOf(base, parent) });
      await fill(nameOf(base, name), offset + 512, 600_000, 16 * (1 + offset / MIB));
    }
    const [merged, leaf] = [await contentOf(nameOf(base, '2')), await contentOf(nameOf(base, 'leaf'))];
    let isDead = true;
    let deaths = 0;
    for (let budget = 0; isDead; budget += every) {
      using folder = new TemporaryFolder();
      cpSync(base.path, folder.path, { recursive: true });
      const at = (name: string): string => nameOf(folder, name);
      ({ isDead } = await dieAfter(budget, () => mergeVhd(at('2'), { depth: 2 })));
      const where = `after ${budget} changes`;
      expect((await contentOf(at('leaf'))).equals(leaf), where).toBe(true);
      if (existsSync(at('2')) && existsSync(at('1'))) {
        expect((await contentOf(at('2'))).equals(merged), where).toBe(true);
      }
      if (isDead) {
        deaths++;
        await mergeVhd(at('2'), { depth: 2 });
      }
      expect((await contentOf(at('0'))).equals(merged), where).toBe(true);
      expect((await contentOf(at('leaf'))).equals(leaf), where).toBe(true);
      expect(readdirSync(folder.path).sort(), where).toEqual([`0.${format}`, `leaf.${format}`]);
    }
    expect(deaths).toBeGreaterThan(3);
  });
}
