import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { changeTrackingState, createVhd, enableChangeTracking, openChain, queryChanges } from '../../src/disk/index.ts';
import { hasProgram, TemporaryFolder } from '../vhdx/tools.ts';

const MIB = 2 ** 20;
const WRITER = fileURLToPath(new URL('./writer.mjs', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/disk/index.js', import.meta.url));

/** Lets the writer run until it has made an id, and for a while longer, and kills it. @returns what it said: ids, and the sectors that it wrote after each */
async function killWhileWriting(path: string, seed: number, forMs: number): Promise<Map<string, number[]>> {
  const writer = spawn(process.execPath, [WRITER, path, String(seed)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  let killer: NodeJS.Timeout | undefined;
  writer.stdout.setEncoding('latin1').on('data', (text: string) => {
    said += text;
    if (said.includes('\nid ')) killer ??= setTimeout(() => writer.kill('SIGKILL'), forMs);
  });
  const signal = await new Promise((resolve) => writer.on('close', (_code, name) => resolve(name)));
  clearTimeout(killer);
  expect(signal).toBe('SIGKILL');
  const written = new Map<string, number[]>([['', []]]);
  for (const line of said.split('\n').slice(0, -1)) {
    const [what, value = ''] = line.split(' ');
    if (what === 'id') written.set(value, []);
    else for (const sectors of written.values()) sectors.push(Number(value));
  }
  return written;
}

function isCovered(ranges: readonly { offsetBytes: number; lengthBytes: number }[], offset: number): boolean {
  return ranges.some((range) => range.offsetBytes <= offset && offset < range.offsetBytes + range.lengthBytes);
}

test.skipIf(!existsSync(BUILT))(
  'a real process, killed while it writes, hides nothing that it wrote (needs the build)',
  async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    await createVhd(path, { sizeBytes: 1024 * MIB, blockSizeBytes: MIB });
    const { mostRecentId } = await enableChangeTracking(path);
    const since = new Map<string, number[]>([[mostRecentId ?? '', []]]);
    for (let round = 0; round < 5; round++) {
      const written = await killWhileWriting(path, round + 1, 60 + round * 60);
      const all = written.get('') ?? [];
      expect(all.length).toBeGreaterThan(0);
      for (const sectors of since.values()) sectors.push(...all);
      for (const [id, sectors] of written) if (id !== '') since.set(id, sectors);
      if (round % 2 === 1) await openChain(path).close();
      for (const [id, sectors] of since) {
        const { ranges } = await queryChanges(path, id);
        const missed = sectors.find((sector) => !isCovered(ranges, sector * 512));
        expect(missed, `round ${round}, since ${id}`).toBeUndefined();
      }
    }
    expect(since.size).toBeGreaterThan(5);
  },
);

describe('software that knows no tracking file', () => {
  test.skipIf(!hasProgram('qemu-io'))('voids the ids when it writes (skipped without qemu-io)', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    await createVhd(path, { sizeBytes: 64 * MIB });
    const { mostRecentId } = await enableChangeTracking(path);
    const id = mostRecentId ?? '';
    execFileSync('qemu-io', ['-r', '-f', 'vhdx', '-c', 'read 0 4k', path], { stdio: 'pipe' });
    expect((await queryChanges(path, id)).ranges).toEqual([]);

    execFileSync('qemu-io', ['-f', 'vhdx', '-c', 'write -P 0x55 8M 64k', path], { stdio: 'pipe' });
    const broken = { code: 'invalid-state', detail: { reason: 'tracking-broken' } };
    expect(await changeTrackingState(path)).toEqual({ enabled: true, newerChanges: true, mostRecentId: null });
    await expect(queryChanges(path, id)).rejects.toMatchObject(broken);
    // Also once hv has written again, and tracking has begun anew.
    {
      await using disk = openChain(path);
      disk.write(0, new Uint8Array(512), 0, 512);
    }
    await expect(queryChanges(path, id)).rejects.toMatchObject(broken);
    const anew = await changeTrackingState(path);
    expect(anew).toMatchObject({ enabled: true, newerChanges: true });
    expect((await queryChanges(path, anew.mostRecentId ?? '')).ranges).toEqual([
      { offsetBytes: 0, lengthBytes: 65536 },
    ]);
  });
});
