import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { createVhd, mergeVhd, openChain, vhdInfo } from '../../src/disk/index.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 32 * MIB;
const WORKER = fileURLToPath(new URL('./merge-worker.mjs', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/disk/index.js', import.meta.url));

async function contentOf(path: string): Promise<Buffer> {
  const disk = openChain(path, { readOnly: true });
  const bytes = Buffer.alloc(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  await disk.close();
  return bytes;
}

async function fill(path: string, offset: number, length: number, value: number): Promise<void> {
  const disk = openChain(path);
  disk.write(offset, new Uint8Array(length).fill(value), 0, length);
  await disk.close();
}

function mergeAndDie(path: string, depth: number, reports: number): Promise<NodeJS.Signals | null> {
  const child = spawn(process.execPath, [WORKER, path, String(depth), String(reports)], { stdio: 'inherit' });
  return new Promise((resolve) => child.on('close', (_code, signal) => resolve(signal)));
}

describe.skipIf(!existsSync(BUILT))('a real process, killed while it merges (needs the build)', () => {
  test('leaves disks that read as before at every stage, and the next merge ends its work', async () => {
    let stage = 1;
    const seen = new Set<string>();
    for (let isKilled = true; isKilled; stage++) {
      using folder = new TemporaryFolder();
      const at = (name: string): string => folder.file(name);
      await createVhd(at('0.vhdx'), { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB });
      await fill(at('0.vhdx'), 0, 3 * MIB, 1);
      for (const index of [1, 2]) {
        await createVhd(at(`${index}.vhdx`), { parentPath: at(`${index - 1}.vhdx`) });
        await fill(at(`${index}.vhdx`), index * MIB, 20 * MIB, index * 16);
      }
      await createVhd(at('leaf.vhdx'), { parentPath: at('2.vhdx') });
      await fill(at('leaf.vhdx'), 5 * MIB + 512, 512, 99);
      const [merged, leaf] = [await contentOf(at('2.vhdx')), await contentOf(at('leaf.vhdx'))];

      isKilled = (await mergeAndDie(at('2.vhdx'), 2, stage)) === 'SIGKILL';
      const left = readdirSync(folder.path).sort();
      seen.add(left.join(' '));
      expect((await contentOf(at('leaf.vhdx'))).equals(leaf), `stage ${stage}`).toBe(true);
      if (existsSync(at('2.vhdx'))) {
        expect((await contentOf(at('2.vhdx'))).equals(merged)).toBe(true);
        expect(await vhdInfo(at('2.vhdx'))).toMatchObject({ unfinishedMergeInto: at('0.vhdx') });
      }
      if (isKilled) await mergeVhd(at('2.vhdx'), { depth: 2 });
      expect(readdirSync(folder.path).sort()).toEqual(['0.vhdx', 'leaf.vhdx']);
      expect((await contentOf(at('0.vhdx'))).equals(merged)).toBe(true);
      expect((await contentOf(at('leaf.vhdx'))).equals(leaf)).toBe(true);
    }
    expect(seen).toEqual(
      new Set([
        '0.vhdx 1.vhdx 2.vhdx 2.vhdx.hv-merge leaf.vhdx',
        '0.vhdx 2.vhdx.hv-merge leaf.vhdx',
        '0.vhdx leaf.vhdx',
      ]),
    );
    expect(stage).toBeGreaterThan(4);
  });
});
