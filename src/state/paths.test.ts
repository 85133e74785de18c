import { chmod, chown, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isRoot } from '../system/index.ts';
import { checkRunFolder, resolvePaths } from './paths.ts';

const refused = { code: 'permission-denied' };
let folder: string;
let run: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-paths-'));
  run = join(folder, 'run');
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('checkRunFolder', () => {
  const check = (): Promise<void> => checkRunFolder(resolvePaths({ home: folder, run }));

  it('is content where there is none, and with one of our own', async () => {
    await check();
    await mkdir(run, { mode: 0o700 });
    await check();
  });

  it('refuses a folder that others may write to', async () => {
    await mkdir(run);
    await chmod(run, 0o777);
    await expect(check()).rejects.toMatchObject(refused);
  });

  it('refuses a folder that lies where others may replace it, unless only owners may', async () => {
    await mkdir(run, { mode: 0o700 });
    await chmod(folder, 0o777);
    await expect(check()).rejects.toMatchObject(refused);
    await chmod(folder, 0o1777);
    await check();
  });

  it.skipIf(!isRoot())('refuses a folder that somebody else made first', async () => {
    await mkdir(run, { mode: 0o700 });
    await chown(run, 12_345, 12_345);
    await expect(check()).rejects.toMatchObject(refused);
  });
});
