import { cpSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import {
  applyVhdSetSnapshot,
  createVhdSet,
  deleteVhdSetSnapshot,
  openVhd,
  optimizeVhdSet,
  takeVhdSetSnapshot,
  vhdSetInfo,
} from '../../src/disk/index.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';
import { dieAfter } from './dying-files.ts';

const MIB = 1024 * 1024;
const SIZE_BYTES = 4 * MIB;
const [S1, S2, S3] = [randomGuid(), randomGuid(), randomGuid()];

async function contentOf(path: string, allowParents: readonly string[]): Promise<string> {
  const disk = await openVhd(path, { readOnly: true, allowParents });
  const bytes = Buffer.alloc(SIZE_BYTES);
  disk.read(0, bytes, 0, SIZE_BYTES);
  await disk.close();
  return [0, 1, 2, 3].map((mib) => bytes[mib * MIB]).join(' ');
}

/** All that a user sees of a set: what its disk and its snapshots hold, and the names of its files. */
async function lookAt(folder: string): Promise<{ readonly disk: string; readonly snapshots: Record<string, string> }> {
  const { snapshots } = await vhdSetInfo(join(folder, 'disk.vhds'));
  const seen: Record<string, string> = {};
  for (const { id, path } of snapshots) if (path !== null) seen[id] = await contentOf(path, [folder]);
  return { disk: await contentOf(join(folder, 'disk.vhds'), []), snapshots: seen };
}

/** Nothing of an earlier, interrupted change is left once another one is through. */
async function isTidy(folder: string): Promise<boolean> {
  const { allPaths } = await vhdSetInfo(join(folder, 'disk.vhds'));
  const names = readdirSync(folder).map((name) => join(folder, name));
  return names.length === allPaths.length + 1 && allPaths.every((path) => names.includes(path));
}

/** Dies at every `every`-th change of a file, in each change of a set. */
export function defineSetCrashes(every: number): void {
  describe('a VHD Set whose process dies', () => {
    const changes: Record<string, (set: string) => Promise<unknown>> = {
      'taking a snapshot': (set) => takeVhdSetSnapshot(set, { snapshotId: S3 }),
      'taking a writeable snapshot': (set) => takeVhdSetSnapshot(set, { snapshotId: S3, isWriteable: true }),
      'applying a snapshot': (set) => applyVhdSetSnapshot(set, S1),
      'applying and keeping': (set) => applyVhdSetSnapshot(set, S1, { leafSnapshotId: S3 }),
      'deleting a snapshot': (set) => deleteVhdSetSnapshot(set, S2),
      'being optimized': (set) => optimizeVhdSet(set),
    };
    for (const [title, change] of Object.entries(changes)) {
      test(`at any change of a file while ${title} is as before or as after, and goes on`, async () => {
        using base = new TemporaryFolder();
        const set = base.file('disk.vhds');
        await createVhdSet(set, { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB });
        for (const [index, id] of [S1, randomGuid(), S2].entries()) {
          const disk = await openVhd(set);
          disk.write(index * MIB, new Uint8Array(600).fill(index + 1), 0, 600);
          await disk.close();
          await takeVhdSetSnapshot(set, { snapshotId: id });
          if (index === 1) await deleteVhdSetSnapshot(set, id);
        }
        const before = await lookAt(base.path);
        let after: typeof before | undefined;
        {
          using done = new TemporaryFolder();
          cpSync(base.path, done.path, { recursive: true });
          await change(done.file('disk.vhds'));
          after = await lookAt(done.path);
          expect(await isTidy(done.path)).toBe(true);
        }
        let isDead = true;
        let deaths = 0;
        for (let budget = 0; isDead; budget += every) {
          using folder = new TemporaryFolder();
          cpSync(base.path, folder.path, { recursive: true });
          const copy = folder.file('disk.vhds');
          ({ isDead } = await dieAfter(budget, () => change(copy)));
          if (isDead) deaths++;
          const where = `after ${budget} changes`;
          expect([before, after], where).toContainEqual(await lookAt(folder.path));
          await takeVhdSetSnapshot(copy);
          expect(await isTidy(folder.path), where).toBe(true);
          const { disk } = await lookAt(folder.path);
          expect([before.disk, after.disk], where).toContain(disk);
        }
        expect(deaths).toBeGreaterThan(0);
      });
    }
  });
}
