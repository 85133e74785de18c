import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { checkVhd, createVhd, openChain } from '../../src/disk/index.ts';
import { TemporaryFolder } from './tools.ts';

const MIB = 1024 * 1024;
const WRITER = fileURLToPath(new URL('../vhdx/writer.mjs', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/disk/index.js', import.meta.url));

/** Lets the writer run for a while and kills it. @returns what it said was acknowledged, by sector */
async function killWhileWriting(path: string, seed: number, forMs: number): Promise<Map<number, number>> {
  const writer = spawn(process.execPath, [WRITER, path, String(seed)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  let killer: NodeJS.Timeout | undefined;
  writer.stdout.setEncoding('latin1').on('data', (text: string) => {
    said += text;
    killer ??= setTimeout(() => writer.kill('SIGKILL'), forMs);
  });
  const signal = await new Promise((resolve) => writer.on('close', (_code, name) => resolve(name)));
  clearTimeout(killer);
  expect(signal).toBe('SIGKILL');
  const acknowledged = new Map<number, number>();
  for (const line of said.split('\n').slice(0, -1)) {
    const [sector = 0, count = 0] = line.split(' ').map(Number);
    acknowledged.set(sector, count);
  }
  return acknowledged;
}

describe.skipIf(!existsSync(BUILT))('a real process, killed while it writes (needs the build)', () => {
  for (const type of ['dynamic', 'differencing'] as const) {
    test(`a ${type} VHD holds every write that it acknowledged`, async () => {
      using folder = new TemporaryFolder();
      await createVhd(folder.file('base.vhd'), { sizeBytes: 256 * MIB, blockSizeBytes: MIB / 2 });
      const path = type === 'dynamic' ? folder.file('base.vhd') : folder.file('leaf.vhd');
      if (type === 'differencing') await createVhd(path, { parentPath: folder.file('base.vhd') });
      for (let round = 0; round < 4; round++) {
        const acknowledged = await killWhileWriting(path, round + 1, 30 + round * 60);
        expect(acknowledged.size).toBeGreaterThan(0);
        const disk = openChain(path, { readOnly: round % 2 === 0 });
        const words = new Uint32Array(128);
        for (const [sector, count] of acknowledged) {
          disk.read(sector * 512, new Uint8Array(words.buffer), 0, 512);
          // Two counts in one sector would be a torn write.
          if (words[0] !== count || words[127] !== count) {
            throw new Error(`round ${round}: sector ${sector} holds ${words[0]} and ${words[127]} instead of ${count}`);
          }
        }
        await disk.close();
        expect(await checkVhd(path)).toMatchObject({ isSound: true });
      }
    });
  }
});
