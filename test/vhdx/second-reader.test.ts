import { describe, expect, test } from 'vitest';
import { createVhd, openChain, resizeVhd, setUserMetadata, vhdInfo } from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { SecondReader } from './second-reader.ts';
import { TemporaryFolder } from './tools.ts';

const MIB = 1024 * 1024;
const ITEM = '01234567-89ab-cdef-0123-456789abcdef';

/** A file and its parents, leaf first, as the second reader reads them. */
function readChain(paths: readonly string[]): { readonly leaf: SecondReader; [Symbol.dispose](): void } {
  const readers: SecondReader[] = [];
  for (const path of [...paths].reverse()) readers.push(new SecondReader(path, readers.at(-1)));
  const leaf = readers.at(-1);
  if (!leaf) throw new Error('no files');
  return {
    leaf,
    [Symbol.dispose]: () => {
      for (const reader of readers) reader[Symbol.dispose]();
    },
  };
}

describe('a second reader, written from the specification', () => {
  test.each([
    { sector: 512, block: MIB },
    { sector: 4096, block: MIB },
    { sector: 4096, block: 4 * MIB },
  ] as const)('agrees on chains of three: sectors of $sector, blocks of $block', async ({ sector, block }) => {
    using folder = new TemporaryFolder();
    const random = seededRandom(sector + block);
    const paths = ['base', 'child', 'grandchild'].map((name) => folder.file(`${name}.vhdx`));
    let model = Buffer.alloc(9 * MIB);
    for (const [depth, path] of paths.entries()) {
      const parentPath = paths[depth - 1];
      await createVhd(
        path,
        parentPath === undefined
          ? { sizeBytes: model.length, blockSizeBytes: block, logicalSectorSizeBytes: sector }
          : { parentPath, blockSizeBytes: block },
      );
      for (let round = 0; round < 3; round++) {
        const disk = openChain(path);
        for (let step = 0; step < 25; step++) {
          const offset = Math.floor(random() * model.length);
          const length = Math.min(model.length - offset, Math.ceil(random() * (random() < 0.2 ? 3 * MIB : 9000)));
          const choice = random();
          if (choice < 0.7) {
            const bytes = Buffer.alloc(length, 1 + Math.floor(random() * 250));
            disk.write(offset, bytes, 0, length);
            bytes.copy(model, offset);
          } else if (choice < 0.85) {
            disk.writeZeroes(offset, length, random() < 0.5);
            model.fill(0, offset, offset + length);
          } else if (disk.layers.length === 1) {
            disk.trim(offset, length);
            disk.read(offset, model, offset, length);
          }
        }
        await disk.close();
        if (depth > 0 || round < 2) {
          const sizeBytes = 3 * MIB + Math.floor((random() * 9 * MIB) / sector) * sector;
          await resizeVhd(path, sizeBytes, { unsafe: true });
          const kept = model.subarray(0, sizeBytes);
          model = Buffer.concat([kept, Buffer.alloc(Math.max(0, sizeBytes - model.length))]);
        }
        if (round === 1) await setUserMetadata(path, ITEM, Buffer.alloc(700 + depth, depth));
        using chain = readChain(paths.slice(0, depth + 1).reverse());
        expect(chain.leaf.sizeBytes).toBe(model.length);
        expect(chain.leaf.sectorBytes).toBe(sector);
        expect(chain.leaf.read(0, model.length).equals(model), `file ${depth}, round ${round}`).toBe(true);
        if (round > 0) expect(chain.leaf.userItems.get(ITEM)?.equals(Buffer.alloc(700 + depth, depth))).toBe(true);
      }
      const info = await vhdInfo(path);
      using chain = readChain(paths.slice(0, depth + 1).reverse());
      expect(chain.leaf).toMatchObject({
        diskId: info.virtualDiskId,
        dataWriteGuid: info.dataWriteGuid,
        physicalSectorBytes: info.physicalSectorSizeBytes,
        blockBytes: info.blockSizeBytes,
      });
    }
  });

  test('finds a table that moved, of a child as well', async () => {
    using folder = new TemporaryFolder();
    const [base, child] = [folder.file('base.vhdx'), folder.file('child.vhdx')];
    await createVhd(base, { sizeBytes: 8 * MIB, blockSizeBytes: MIB, logicalSectorSizeBytes: 4096 });
    const disk = openChain(base);
    disk.write(5 * MIB, Buffer.alloc(MIB, 5), 0, MIB);
    await disk.close();
    await createVhd(child, { parentPath: base, blockSizeBytes: MIB });
    const far = 300 * 1024 * MIB - 4096;
    await resizeVhd(child, far + 4096);
    const grown = openChain(child);
    grown.write(far, Buffer.alloc(4096, 9), 0, 4096);
    grown.write(5 * MIB + 4096, Buffer.alloc(4096, 7), 0, 4096);
    await grown.close();
    using chain = readChain([child, base]);
    expect(chain.leaf.read(far, 4096).equals(Buffer.alloc(4096, 9))).toBe(true);
    const around = [Buffer.alloc(4096, 5), Buffer.alloc(4096, 7), Buffer.alloc(4096, 5)];
    expect(chain.leaf.read(5 * MIB, 3 * 4096).equals(Buffer.concat(around))).toBe(true);
    expect(chain.leaf.read(8 * MIB - 4096, 8192).equals(Buffer.alloc(8192))).toBe(true);
  });
});
