import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { writeFileAtomic } from '../system/index.ts';
import type { HvPaths } from './paths.ts';

const schema = z.strictObject({
  schemaVersion: z.literal(1),
  vmPath: z.string().startsWith('/').optional(),
  vhdPath: z.string().startsWith('/').optional(),
});

export interface StoredSettings {
  readonly vmPath: string;
  readonly vhdPath: string;
}

/** The host's own settings, with their defaults. @throws HvError `corrupt`, `io` */
export async function readSettings(paths: HvPaths): Promise<StoredSettings> {
  const defaults = { vmPath: paths.vms, vhdPath: join(paths.home, 'disks') };
  let text: string;
  try {
    text = await readFile(paths.settingsFile, 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return defaults;
    throw fromSystemError(error, `cannot read ${paths.settingsFile}`, { path: paths.settingsFile });
  }
  try {
    const stored = schema.parse(JSON.parse(text));
    return { vmPath: stored.vmPath ?? defaults.vmPath, vhdPath: stored.vhdPath ?? defaults.vhdPath };
  } catch (error) {
    throw new HvError('corrupt', `the settings file ${paths.settingsFile} is damaged`, {
      detail: { path: paths.settingsFile },
      hint: 'Repair or remove it; hv then uses its default paths.',
      cause: error,
    });
  }
}

export async function writeSettings(paths: HvPaths, settings: StoredSettings): Promise<void> {
  await writeFileAtomic(paths.settingsFile, `${JSON.stringify({ schemaVersion: 1, ...settings }, undefined, 2)}\n`, {
    mode: 0o600,
  });
}
