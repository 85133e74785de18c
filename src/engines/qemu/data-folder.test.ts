import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, realpath, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VmDefinition } from '../../state/index.ts';
import { isRoot } from '../../system/index.ts';
import { collectGarbage, copyIntoData, DATA, makeDataFolder } from './data-folder.ts';

const USER = { uid: 0x76680001, gid: 0x76680001 };
let folder: string;
let dataPath: string;

beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'hv-data-')));
  dataPath = join(folder, 'data');
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Only what the collector reads. */
function definition(parts: Partial<VmDefinition> = {}): VmDefinition {
  const found: Partial<VmDefinition> = {
    dataPath,
    user: null,
    savedState: null,
    snapshots: [],
    nvramFile: null,
    ...parts,
  };
  return found as VmDefinition;
}

describe('collectGarbage', () => {
  it('deletes what nothing names and keeps what the definition and the layers name', async () => {
    await makeDataFolder({ dataPath, user: null });
    const files = ['disks/layer', 'disks/lost', 'saved/state', 'saved/half.tmp', 'snapshots/vars'];
    for (const file of files) await writeFile(join(dataPath, file), '');
    const savedState = { file: 'saved/state', savedTime: '', paused: false };
    await collectGarbage(definition({ savedState }), new Set([join(dataPath, 'disks/layer')]));
    expect(files.filter((file) => existsSync(join(dataPath, file)))).toEqual(['disks/layer', 'saved/state']);
  });

  it.each(Object.values(DATA))('follows no link that stands in the place of %s', async (part) => {
    await makeDataFolder({ dataPath, user: null });
    await mkdir(join(folder, 'elsewhere'));
    await writeFile(join(folder, 'elsewhere/precious'), '');
    await rm(join(dataPath, part), { recursive: true });
    await symlink(join(folder, 'elsewhere'), join(dataPath, part));
    await expect(collectGarbage(definition(), new Set())).rejects.toMatchObject({ code: 'permission-denied' });
    expect(existsSync(join(folder, 'elsewhere/precious'))).toBe(true);
  });
});

describe("a machine's own user", () => {
  it.skipIf(!isRoot())('may add files to its folders but not replace a folder', async () => {
    await rm(folder, { recursive: true });
    await mkdir(folder, { mode: 0o711 });
    await makeDataFolder({ dataPath, user: USER });
    const attempt = (script: string): number | null =>
      spawnSync('sh', ['-c', script], { cwd: dataPath, uid: USER.uid, gid: USER.gid, timeout: 10_000 }).status;
    for (const part of Object.values(DATA)) {
      expect(attempt(`: > ${part}/file && ln ${part}/file ${part}/second && mv ${part}/second ${part}/third`)).toBe(0);
      expect(attempt(`mv ${part} away`)).not.toBe(0);
      expect(attempt(`rm -r ${part}`)).not.toBe(0);
      expect((await stat(join(dataPath, part))).uid).toBe(0);
    }
    expect(attempt(': > log && mv log log2 && rm log2')).toBe(0);
  });
});

describe('copyIntoData', () => {
  it('refuses a file that is far too large to be what it copies', async () => {
    await makeDataFolder({ dataPath, user: null });
    await writeFile(join(dataPath, 'saved/huge'), '');
    await truncate(join(dataPath, 'saved/huge'), 2 ** 40);
    await expect(copyIntoData(definition(), join(dataPath, 'saved/huge'), 'snapshots/copy')).rejects.toMatchObject({
      code: 'permission-denied',
    });
    expect(existsSync(join(dataPath, 'snapshots/copy'))).toBe(false);
  });
});
