import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ensureFolders, type HvPaths, resolvePaths } from './paths.ts';
import { readSettings, writeSettings } from './settings.ts';

let folder: string;
let paths: HvPaths;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-settings-'));
  paths = resolvePaths({ home: join(folder, 'home'), run: join(folder, 'run') });
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe('settings', () => {
  it('are the defaults of the home until they are written', async () => {
    expect(await readSettings(paths)).toEqual({ vmPath: paths.vms, vhdPath: join(paths.home, 'disks') });
  });

  it('are read back as they were written', async () => {
    await ensureFolders(paths);
    const wanted = { vmPath: '/srv/vms', vhdPath: '/srv/disks with "quotes"' };
    await writeSettings(paths, wanted);
    expect(await readSettings(paths)).toEqual(wanted);
  });

  it.each([
    '',
    '{',
    '[]',
    '{"schemaVersion":2}',
    '{"schemaVersion":1,"vhdPath":"relative"}',
    '{"schemaVersion":1,"x":1}',
  ])('name their file when they are damaged: %j', async (text) => {
    await ensureFolders(paths);
    await writeFile(paths.settingsFile, text);
    await expect(readSettings(paths)).rejects.toMatchObject({ code: 'corrupt', detail: { path: paths.settingsFile } });
  });
});
