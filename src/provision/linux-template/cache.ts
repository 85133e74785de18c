import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSystemError } from '../../errors/index.ts';
import { LINUX_TEMPLATE_VERSION } from './guest-files.ts';

/**
 * Finished images by recipe and size: `linux-template/v1-2147483648/{disk.vhdx,template.json}`. A folder appears whole,
 * by renaming, so whoever reads it needs no lock.
 */
export interface TemplateInfo {
  readonly imagePath: string;
  readonly kernelVersion: string;
}

const FOLDER = 'linux-template';
const IMAGE_NAME = 'disk.vhdx';
const INFO_NAME = 'template.json';
const WORK_PREFIX = 'work-';
/** A build takes a minute; what is older was left by a killed one. */
const STALE_MS = 3_600_000;

function entryFolder(cacheDir: string, sizeBytes: number): string {
  return join(cacheDir, FOLDER, `v${LINUX_TEMPLATE_VERSION}-${sizeBytes}`);
}

/** The cached image of that size, where it is there and whole. */
export async function cachedTemplate(cacheDir: string, sizeBytes: number): Promise<TemplateInfo | undefined> {
  const folder = entryFolder(cacheDir, sizeBytes);
  const imagePath = join(folder, IMAGE_NAME);
  try {
    const info: unknown = JSON.parse(await readFile(join(folder, INFO_NAME), 'utf8'));
    if (typeof info !== 'object' || info === null) return undefined;
    const { kernelVersion, fileSizeBytes } = info as Record<string, unknown>;
    if (typeof kernelVersion !== 'string' || fileSizeBytes !== (await stat(imagePath)).size) return undefined;
    return { imagePath, kernelVersion };
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ENOTDIR') || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

/** Moves a finished image into the cache in place of an older one of its recipe and size. */
export async function publishTemplate(
  cacheDir: string,
  image: string,
  made: { readonly sizeBytes: number; readonly kernelVersion: string },
): Promise<TemplateInfo> {
  const folder = entryFolder(cacheDir, made.sizeBytes);
  await mkdir(join(cacheDir, FOLDER), { recursive: true });
  const fresh = await mkdtemp(join(cacheDir, WORK_PREFIX));
  try {
    const info = { version: LINUX_TEMPLATE_VERSION, ...made, fileSizeBytes: (await stat(image)).size };
    await writeFile(join(fresh, INFO_NAME), `${JSON.stringify(info, undefined, 1)}\n`);
    await rename(image, join(fresh, IMAGE_NAME));
    await replaceFolder(fresh, folder);
  } catch (error) {
    await rm(fresh, { recursive: true, force: true });
    throw error;
  }
  return { imagePath: join(folder, IMAGE_NAME), kernelVersion: made.kernelVersion };
}

async function replaceFolder(fresh: string, folder: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await rename(fresh, folder);
      return;
    } catch (error) {
      // An older image, or one that another build has just put there.
      if (!isSystemError(error, 'ENOTEMPTY', 'EEXIST') || attempt === 3) throw error;
      await rm(folder, { recursive: true, force: true });
    }
  }
}

/** Removes what builds left that were killed. */
export async function removeStaleWork(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith(WORK_PREFIX)) continue;
    const path = join(cacheDir, name);
    const age = Date.now() - (await stat(path)).mtimeMs;
    if (age > STALE_MS) await rm(path, { recursive: true, force: true });
  }
}
