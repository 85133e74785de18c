import { mkdir, mkdtemp, open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Progress } from '../../src/async/index.ts';
import { GPT_TYPE, parseGpt } from '../../src/formats/gpt/index.ts';
import { buildLinuxTemplate, type LinuxTemplate } from '../../src/provision/index.ts';
import { runProgram } from '../../src/system/index.ts';

const MIB = 1024 * 1024;
const DEADLINE = { deadlineMs: 60_000 } as const;

let folder: string;
let path: string;
let built: LinuxTemplate;
let tookMs: number;
const progress: Progress[] = [];

// With `refresh` the image in the cache is today's; packages that are there already are not downloaded again.
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-template-build-'));
  path = join(folder, 'linux.vhdx');
  const startedAt = performance.now();
  built = await buildLinuxTemplate(path, { refresh: true, onProgress: (step) => progress.push(step) });
  tookMs = performance.now() - startedAt;
}, 120_000);

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('building the Linux template', () => {
  it('takes under a minute and says what it made', async () => {
    expect(built).toEqual({
      path,
      virtualSizeBytes: 2048 * MIB,
      kernelVersion: expect.stringMatching(/^\d+\.\d+/),
      fromCache: false,
    });
    expect(tookMs).toBeLessThan(60_000);
    expect((await stat(path)).size).toBeLessThan(80 * MIB);
    expect([...new Set(progress.map(({ phase }) => phase))]).toEqual(['packages', 'system', 'disk', 'copy']);
    expect(progress.at(-1)).toMatchObject({ phase: 'copy', done: progress.at(-1)?.total });
  });

  it('copies the cached image in under two seconds the next time', async () => {
    const copy = join(folder, 'копия "b".vhdx');
    const startedAt = performance.now();
    const again = await buildLinuxTemplate(copy);
    expect(performance.now() - startedAt).toBeLessThan(2000);
    expect(again).toEqual({ ...built, path: copy, fromCache: true });
    await runProgram('cmp', [path, copy], DEADLINE);
    expect((await readdir(folder)).sort()).toEqual(['linux.vhdx', 'копия "b".vhdx']);
  });

  it('makes a VHDX with partitions and file systems that other tools accept', async () => {
    await runProgram('qemu-img', ['check', '-f', 'vhdx', path], DEADLINE);
    const raw = join(folder, 'raw.img');
    await runProgram('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', path, raw], DEADLINE);
    const verdict = (await runProgram('sgdisk', ['-v', raw], DEADLINE)).stdout.toString();
    expect(verdict).toContain('No problems found');

    const file = await open(raw);
    try {
      const front = Buffer.alloc(MIB);
      await file.read(front, 0, front.length, 0);
      const { partitions } = parseGpt((offset, length) => front.subarray(offset, offset + length), 512);
      expect(partitions.map(({ typeId, name }) => [typeId, name])).toEqual([
        [GPT_TYPE.biosBoot, 'BIOS boot'],
        [GPT_TYPE.efiSystem, 'EFI system'],
        [GPT_TYPE.linuxData, 'HVDATA'],
      ]);
      const volumeOf = async (index: number): Promise<string> => {
        const { firstSector = 0, lastSector = 0 } = partitions[index] ?? {};
        const volume = join(folder, `volume-${index}.img`);
        const range = [`skip=${firstSector * 512}`, `count=${(lastSector - firstSector + 1) * 512}`];
        const flags = ['bs=1M', 'iflag=skip_bytes,count_bytes', 'conv=sparse', 'status=none'];
        await runProgram('dd', [`if=${raw}`, `of=${volume}`, ...range, ...flags], DEADLINE);
        return volume;
      };
      await runProgram('fsck.fat', ['-n', await volumeOf(1)], DEADLINE);
      await runProgram('e2fsck', ['-f', '-n', await volumeOf(2)], DEADLINE);
    } finally {
      await file.close();
    }
  });

  it('refuses a place that is taken, a wrong name, folder or size, before anything is made', async () => {
    await expect(buildLinuxTemplate(path)).rejects.toMatchObject({ code: 'already-exists' });
    const other = join(folder, 'other.vhdx');
    await expect(buildLinuxTemplate(join(folder, 'other.vhd'))).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(buildLinuxTemplate(join(folder, 'no', 'x.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
    for (const sizeBytes of [0, -1, 1.5, 512 * MIB - 1, 100 * MIB, 2 ** 41, Number.NaN]) {
      await expect(buildLinuxTemplate(other, { sizeBytes })).rejects.toMatchObject({ code: 'invalid-argument' });
    }
    expect(await readdir(folder)).not.toContain('other.vhdx');
  });

  it('leaves nothing behind when it is cancelled, at once or in the middle', async () => {
    const target = join(folder, 'cancelled.vhdx');
    const cacheDir = join(folder, 'cache');
    await mkdir(cacheDir);
    const early = AbortSignal.abort();
    await expect(buildLinuxTemplate(target, { cacheDir, signal: early })).rejects.toMatchObject({ code: 'aborted' });
    const middle = new AbortController();
    const work = buildLinuxTemplate(target, { cacheDir, signal: middle.signal });
    setTimeout(() => middle.abort(), 700);
    await expect(work).rejects.toMatchObject({ code: 'aborted' });
    expect(await readdir(folder)).not.toContain('cancelled.vhdx');
    expect((await readdir(cacheDir)).filter((name) => name.startsWith('work-'))).toEqual([]);
  });

  it('says so when the cache folder cannot be used', async () => {
    const file = join(folder, 'a-file');
    await writeFile(file, '');
    const work = buildLinuxTemplate(join(folder, 'x.vhdx'), { cacheDir: join(file, 'cache') });
    await expect(work).rejects.toMatchObject({ code: 'not-found', detail: { errno: 'ENOTDIR' } });
  });
});
