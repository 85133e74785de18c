import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { randomGuid } from '../binary/index.ts';
import { createVhd, type DiskUser, FileDisks } from './index.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-disks-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const at = (name: string): string => join(folder, name);

test('a parent is not changed under its children, unless forced or the change takes care of them', async () => {
  const disks = new FileDisks();
  await createVhd(at('base.vhdx'), { sizeBytes: 2 ** 23 });
  await disks.mayChange(at('base.vhdx'));
  await createVhd(at('a.vhdx'), { parentPath: at('base.vhdx') });
  await createVhd(at('b.vhdx'), { parentPath: at('base.vhdx') });
  await expect(disks.mayChange(at('base.vhdx'))).rejects.toMatchObject({
    code: 'in-use',
    message: `${at('base.vhdx')} is the parent of ${at('a.vhdx')} and 1 more`,
    detail: { children: [at('a.vhdx'), at('b.vhdx')] },
  });
  await expect(disks.mayChange(at('base.vhdx'), { except: [at('a.vhdx')] })).rejects.toMatchObject({ code: 'in-use' });
  await disks.mayChange(at('base.vhdx'), { except: [at('a.vhdx'), at('b.vhdx')] });
  await disks.mayChange(at('base.vhdx'), { force: true });
  await disks.mayChange(at('a.vhdx'));
  await disks.mayChange(at('gone.vhdx'));
});

test('a disk of a machine is not changed where the machine stands on what it holds', async () => {
  class WithUser extends FileDisks {
    readonly #conflict: string | null;
    constructor(conflict: string | null) {
      super();
      this.#conflict = conflict;
    }
    override async users(): Promise<readonly DiskUser[]> {
      return [{ id: '1', name: 'web1', as: 'drive', conflict: this.#conflict }];
    }
  }
  await createVhd(at('a.vhdx'), { sizeBytes: 2 ** 23 });
  await new WithUser(null).mayChange(at('a.vhdx'));
  await expect(new WithUser('which is Saved').mayChange(at('a.vhdx'))).rejects.toMatchObject({
    code: 'in-use',
    detail: { vm: 'web1' },
  });
  await new WithUser('which is Saved').mayChange(at('a.vhdx'), { force: true });
});

test('a file that a VHD Set keeps is changed through the set', async () => {
  const disks = new FileDisks();
  const { leafPath: first } = await disks.createSet(at('disk.vhds'), { sizeBytes: 2 ** 23 });
  await disks.mayChange(first);
  const { leafPath: second, snapshots } = await disks.takeSetSnapshot(at('disk.vhds'));
  await disks.applySetSnapshot(at('disk.vhds'), snapshots[0]?.id ?? '', { leafSnapshotId: randomGuid() });
  // A kept disk, on which nothing stands.
  await expect(disks.mayChange(second)).rejects.toMatchObject({ code: 'in-use', detail: { setPath: at('disk.vhds') } });
  await disks.mayChange(second, { force: true });
  const { leafPath: third } = await disks.setInfo(at('disk.vhds'));
  await disks.mayChange(third);
  await expect(disks.merge(third)).rejects.toMatchObject({ code: 'in-use' });
  class SavedOnSet extends FileDisks {
    override async users(path: string): Promise<readonly DiskUser[]> {
      return path === at('disk.vhds') ? [{ id: '1', name: 'web1', as: 'drive', conflict: 'which is Saved' }] : [];
    }
  }
  await expect(new SavedOnSet().mayChange(third)).rejects.toMatchObject({ code: 'in-use', detail: { vm: 'web1' } });
  await expect(new SavedOnSet().takeSetSnapshot(at('disk.vhds'))).rejects.toMatchObject({ code: 'in-use' });
});
