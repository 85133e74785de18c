import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createVhd, type DiskUser, FileDisks, mergeVhd, openChain, vhdInfo } from './index.ts';
import { type MergeJournal, parseMergeJournal } from './merge-journal.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 16 * MIB;

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-merge-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

async function fill(path: string, offset: number, length: number, value: number): Promise<void> {
  const disk = openChain(path);
  disk.write(offset, new Uint8Array(length).fill(value), 0, length);
  await disk.close();
}

async function contentOf(path: string): Promise<Buffer> {
  const disk = openChain(path, { readOnly: true });
  const bytes = Buffer.alloc(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  await disk.close();
  return bytes;
}

/** base <- 1 <- 2 <- ... each with a run of its own that overlaps the one below. */
async function makeChain(depth: number): Promise<void> {
  await createVhd(at('0.vhdx'), { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB });
  await fill(at('0.vhdx'), 0, MIB, 200);
  for (let index = 1; index <= depth; index++) {
    await createVhd(at(`${index}.vhdx`), { parentPath: at(`${index - 1}.vhdx`) });
    await fill(at(`${index}.vhdx`), index * 4096, 3 * 4096, index);
  }
}

describe('a merge', () => {
  test('of one file leaves a parent that reads as the child did, and links what stood on the child', async () => {
    await makeChain(2);
    await createVhd(at('other.vhdx'), { parentPath: at('2.vhdx') });
    await createVhd(at('leaf.vhdx'), { parentPath: at('2.vhdx') });
    await fill(at('leaf.vhdx'), 5 * MIB, 512, 9);
    const [merged, leaf] = [await contentOf(at('2.vhdx')), await contentOf(at('leaf.vhdx'))];
    expect(await mergeVhd(at('2.vhdx'))).toEqual({
      path: at('1.vhdx'),
      mergedPaths: [at('2.vhdx')],
      removedPaths: [at('2.vhdx')],
      relinkedPaths: [at('leaf.vhdx'), at('other.vhdx')],
    });
    expect(readdirSync(folder).sort()).toEqual(['0.vhdx', '1.vhdx', 'leaf.vhdx', 'other.vhdx']);
    expect((await contentOf(at('1.vhdx'))).equals(merged)).toBe(true);
    expect((await contentOf(at('other.vhdx'))).equals(merged)).toBe(true);
    expect((await contentOf(at('leaf.vhdx'))).equals(leaf)).toBe(true);
  });

  test('goes over as many files as are said, at once, and may keep them', async () => {
    await makeChain(4);
    const expected = await contentOf(at('4.vhdx'));
    await expect(mergeVhd(at('4.vhdx'), { depth: 5 })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(mergeVhd(at('4.vhdx'), { depth: 0 })).rejects.toMatchObject({ code: 'invalid-argument' });
    await expect(mergeVhd(at('0.vhdx'))).rejects.toMatchObject({ code: 'invalid-state' });
    await expect(mergeVhd(at('gone.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
    const before = await contentOf(at('1.vhdx'));
    const plan = await mergeVhd(at('4.vhdx'), { depth: 3, dryRun: true });
    expect(plan.removedPaths).toEqual([at('4.vhdx'), at('3.vhdx'), at('2.vhdx')]);
    expect((await contentOf(at('1.vhdx'))).equals(before)).toBe(true);
    await mergeVhd(at('4.vhdx'), { depth: 3, keepFiles: true });
    expect((await contentOf(at('4.vhdx'))).equals(expected)).toBe(true);
    expect((await contentOf(at('1.vhdx'))).equals(expected)).toBe(true);
    await mergeVhd(at('4.vhdx'), { depth: 4 });
    expect((await contentOf(at('0.vhdx'))).equals(expected)).toBe(true);
    expect(readdirSync(folder)).toEqual(['0.vhdx']);
  });

  test('makes the parent as large as a child that is larger', async () => {
    await createVhd(at('p.vhdx'), { sizeBytes: 8 * MIB });
    await fill(at('p.vhdx'), 7 * MIB, MIB, 1);
    await createVhd(at('c.vhdx'), { parentPath: at('p.vhdx'), sizeBytes: 24 * MIB });
    await fill(at('c.vhdx'), 20 * MIB, MIB, 2);
    const expected = await contentOf(at('c.vhdx'));
    await mergeVhd(at('c.vhdx'));
    expect((await contentOf(at('p.vhdx'))).equals(expected)).toBe(true);
    expect(await vhdInfo(at('p.vhdx'))).toMatchObject({ virtualSizeBytes: 24 * MIB });
  });

  test('is refused while somebody holds one of the files, and changes nothing then', async () => {
    await makeChain(2);
    await createVhd(at('leaf.vhdx'), { parentPath: at('2.vhdx') });
    const disk = openChain(at('leaf.vhdx'), { readOnly: true });
    await expect(mergeVhd(at('2.vhdx'))).rejects.toMatchObject({ code: 'in-use' });
    await disk.close();
    expect(readdirSync(folder).filter((name) => !name.endsWith('.vhdx'))).toEqual([]);
  });
});

describe('a merge that was cut short', () => {
  test('by an abort says so, leaves the disk as it reads, and goes on when it is run again', async () => {
    await makeChain(2);
    for (let offset = 2 * MIB; offset < SIZE_BYTES; offset += 2 * MIB) await fill(at('2.vhdx'), offset, MIB, 77);
    const expected = await contentOf(at('2.vhdx'));
    const abort = new AbortController();
    await expect(
      mergeVhd(at('2.vhdx'), { depth: 2, signal: abort.signal, onProgress: () => abort.abort() }),
    ).rejects.toMatchObject({ code: 'aborted', hint: expect.stringContaining('again') });
    expect((await contentOf(at('2.vhdx'))).equals(expected)).toBe(true);
    expect(await vhdInfo(at('2.vhdx'))).toMatchObject({ unfinishedMergeInto: at('0.vhdx') });
    // Whoever writes to the disk meanwhile loses nothing.
    await fill(at('2.vhdx'), 0, 512, 99);
    const later = await contentOf(at('2.vhdx'));
    await mergeVhd(at('2.vhdx'), { depth: 2 });
    expect((await contentOf(at('0.vhdx'))).equals(later)).toBe(true);
    expect(readdirSync(folder)).toEqual(['0.vhdx']);
  });

  test('after a checkpoint does not copy over again what came before it', async () => {
    await makeChain(1);
    await fill(at('1.vhdx'), 8 * MIB, MIB, 44);
    const expected = await contentOf(at('1.vhdx'));
    const abort = new AbortController();
    const { signal } = abort;
    await mergeVhd(at('1.vhdx'), { signal, onProgress: () => abort.abort() }).catch(() => undefined);
    const journal = JSON.parse(readFileSync(at('1.vhdx.hv-merge'), 'utf8')) as MergeJournal;
    const target = { path: at('0.vhdx'), contentId: (await vhdInfo(at('0.vhdx'))).dataWriteGuid };
    // As if everything before had been copied: what the copy leaves out shows that it began there.
    await fill(at('1.vhdx'), 0, 512, expected[0] ?? 0);
    const own = { path: at('1.vhdx'), contentId: (await vhdInfo(at('1.vhdx'))).dataWriteGuid };
    writeFileSync(at('1.vhdx.hv-merge'), JSON.stringify({ ...journal, target, merged: [own], doneBytes: 9 * MIB }));
    await mergeVhd(at('1.vhdx'), { keepFiles: true });
    expect((await contentOf(at('0.vhdx')))[8 * MIB]).toBe(0);
    await mergeVhd(at('1.vhdx'));
    expect((await contentOf(at('0.vhdx'))).equals(expected)).toBe(true);
  });

  /** The state after the copy and before the end, with the files as they were. */
  async function makeFinished(journal: Partial<MergeJournal>): Promise<void> {
    await makeChain(1);
    await mergeVhd(at('1.vhdx'), { keepFiles: true });
    const id = async (path: string): Promise<string> => (await vhdInfo(path)).dataWriteGuid ?? '';
    const whole: MergeJournal = {
      version: 1,
      phase: 'finish',
      target: { path: at('0.vhdx'), contentId: await id(at('0.vhdx')) },
      merged: [{ path: at('1.vhdx'), contentId: await id(at('1.vhdx')) }],
      childPaths: [],
      keepFiles: false,
      doneBytes: 0,
      ...journal,
    };
    writeFileSync(at('1.vhdx.hv-merge'), JSON.stringify(whole));
  }

  test('at its end is finished even when the merged file is gone', async () => {
    await makeFinished({});
    rmSync(at('1.vhdx'));
    expect(await mergeVhd(at('1.vhdx'))).toMatchObject({ path: at('0.vhdx'), removedPaths: [at('1.vhdx')] });
    expect(readdirSync(folder)).toEqual(['0.vhdx']);
    await expect(mergeVhd(at('1.vhdx'))).rejects.toMatchObject({ code: 'not-found' });
  });

  test('at its end does without a disk that is gone meanwhile', async () => {
    await makeFinished({ childPaths: [at('gone.vhdx')] });
    expect(await mergeVhd(at('1.vhdx'))).toMatchObject({ removedPaths: [at('1.vhdx')] });
    expect(readdirSync(folder)).toEqual(['0.vhdx']);
  });

  test('and written to since, is done over', async () => {
    await makeFinished({});
    await fill(at('1.vhdx'), 3 * MIB, 512, 55);
    await mergeVhd(at('1.vhdx'));
    expect((await contentOf(at('0.vhdx')))[3 * MIB]).toBe(55);
    expect(readdirSync(folder)).toEqual(['0.vhdx']);
  });

  test('removes and links nothing that a journal of somebody else names', async () => {
    mkdirSync(at('out'));
    const outside = at('out/secret.vhdx');
    const own = { path: at('1.vhdx'), contentId: '' };
    await createVhd(outside, { sizeBytes: SIZE_BYTES });
    await createVhd(at('alone.vhdx'), { sizeBytes: SIZE_BYTES });
    await makeFinished({});
    const { merged, target } = JSON.parse(readFileSync(at('1.vhdx.hv-merge'), 'utf8')) as MergeJournal;
    const first = merged[0] ?? own;
    const cases: [Partial<MergeJournal>, string][] = [
      [{ merged: [first, { path: '/etc/passwd', contentId: '' }] }, 'permission-denied'],
      [{ merged: [first, { path: `${folder}/../${'x'.repeat(9)}.vhdx`, contentId: '' }] }, 'permission-denied'],
      [{ merged: [first, { path: at('alone.vhdx'), contentId: '' }] }, 'invalid-state'],
      [{ target: { path: '/etc/shadow', contentId: '' } }, 'permission-denied'],
      [{ childPaths: ['/etc/shadow'] }, 'permission-denied'],
    ];
    for (const [changed, code] of cases) {
      const journal = { version: 1, phase: 'finish', target, merged, childPaths: [], keepFiles: false, doneBytes: 0 };
      writeFileSync(at('1.vhdx.hv-merge'), JSON.stringify({ ...journal, ...changed }));
      await expect(mergeVhd(at('1.vhdx'))).rejects.toMatchObject({ code });
      expect(existsSync(at('1.vhdx')) && existsSync(at('alone.vhdx')) && existsSync(outside)).toBe(true);
    }
  });

  test('any text gives a journal or none', () => {
    const near = fc.record(
      {
        version: fc.constantFrom(1, 2, '1'),
        phase: fc.constantFrom('copy', 'finish', 'x'),
        target: fc.record({ path: fc.constantFrom('/a', 'a', 1), contentId: fc.string() }),
        merged: fc.array(fc.record({ path: fc.constantFrom('/b', '/b\0', '') }, { requiredKeys: [] })),
        childPaths: fc.oneof(fc.array(fc.string()), fc.anything()),
        keepFiles: fc.anything(),
        doneBytes: fc.oneof(fc.integer(), fc.double()),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          near.map((value) => JSON.stringify(value)),
        ),
        (text) => {
          const journal = parseMergeJournal(text);
          if (!journal) return;
          expect(parseMergeJournal(JSON.stringify(journal))).toEqual(journal);
        },
      ),
    );
  });
});

describe('a host', () => {
  class WithUser extends FileDisks {
    readonly #path: string;
    constructor(path: string) {
      super();
      this.#path = path;
    }
    override async users(path: string): Promise<readonly DiskUser[]> {
      return path === this.#path ? [{ id: '1', name: 'web1', as: 'drive', conflict: null }] : [];
    }
  }

  test('merges nothing under the children of others, and takes no disk from a machine', async () => {
    await makeChain(3);
    await createVhd(at('branch.vhdx'), { parentPath: at('1.vhdx') });
    const disks = new FileDisks();
    await expect(disks.merge(at('3.vhdx'), { depth: 3 })).rejects.toMatchObject({
      code: 'in-use',
      detail: { path: at('1.vhdx'), children: [at('branch.vhdx')] },
    });
    await expect(disks.merge(at('2.vhdx'))).rejects.toMatchObject({ code: 'in-use' });
    rmSync(at('branch.vhdx'));
    for (const used of ['3.vhdx', '2.vhdx']) {
      await expect(new WithUser(at(used)).merge(at('3.vhdx'), { depth: 2 })).rejects.toMatchObject({ code: 'in-use' });
    }
    expect(readdirSync(folder).length).toBe(4);
    await new WithUser(at('1.vhdx')).merge(at('3.vhdx'), { depth: 2 });
    expect(readdirSync(folder).sort()).toEqual(['0.vhdx', '1.vhdx']);
  });
});
