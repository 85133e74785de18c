import { access, constants, mkdir, mkdtemp, rm, stat, statfs } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, extname, join, resolve } from 'node:path';
import { type LongOptions, type OnProgress, throttleProgress, throwIfAborted } from '../../async/index.ts';
import { fromSystemError, HvError, isHvError, isSystemError } from '../../errors/index.ts';
import { cachedTemplate, publishTemplate, removeStaleWork, type TemplateInfo } from './cache.ts';
import { MAX_TEMPLATE_SIZE_BYTES, MIN_TEMPLATE_SIZE_BYTES, writeDiskImage } from './disk-image.ts';
import { GUEST_OS_RELEASE, KERNEL_COMMAND_LINE } from './guest-files.ts';
import { obtainGuestParts } from './guest-parts.ts';
import { buildInitramfs } from './initramfs.ts';
import { compressLz4Legacy } from './lz4.ts';
import { placeCopy } from './place-copy.ts';
import { checkTemplateRequirements, GRUB_FOLDER } from './requirements.ts';
import { writeTemplateDisk } from './template-disk.ts';
import { buildUki } from './uki.ts';

export interface BuildLinuxTemplateOptions extends LongOptions {
  /**
   * Where packages and finished images stay; made when it is not there.
   * Default: /var/cache/hv for root, else hv in the user's cache folder.
   */
  readonly cacheDir?: string;
  /** Of the virtual disk: a multiple of 1 MiB from 512 MiB to 1 TiB. Default 2 GiB. */
  readonly sizeBytes?: number;
  /** Builds anew with the newest packages, also where the cache has an image. */
  readonly refresh?: boolean;
}

export interface LinuxTemplate {
  readonly path: string;
  readonly virtualSizeBytes: number;
  readonly kernelVersion: string;
  /** Whether the image was copied from the cache rather than built. */
  readonly fromCache: boolean;
}

const MIB = 1024 * 1024;
const DEFAULT_SIZE_BYTES = 2048 * MIB;
/** Packages, what is unpacked of them, the volumes and the image: measured 250 MiB. */
const NEEDED_SPACE_BYTES = 400 * MIB;

/**
 * Makes a dynamic VHDX with a small Linux that boots in both generations: Debian's kernel, busybox, qemu-guest-agent.
 * Needs no root. The first build downloads about 35 MB of Debian packages; later ones copy the cached image.
 * An abort kills what runs and leaves nothing at `path`; what is in the cache stays.
 * @throws HvError `invalid-argument`, `already-exists`, `not-found` (folder; package), `missing-dependency`,
 *   `permission-denied`, `no-space`, `unsupported` (not x86-64 Linux), `io` (download), `process-failed`, `aborted`
 * @example await buildLinuxTemplate('/srv/templates/linux.vhdx', { signal, onProgress: console.log })
 */
export async function buildLinuxTemplate(
  path: string,
  options: BuildLinuxTemplateOptions = {},
): Promise<LinuxTemplate> {
  const { signal } = options;
  const onProgress = throttleProgress(options.onProgress);
  const target = resolve(path);
  const sizeBytes = options.sizeBytes ?? DEFAULT_SIZE_BYTES;
  const cacheDir = resolve(options.cacheDir ?? defaultCacheDir());
  throwIfAborted(signal, 'building the template');
  checkSize(sizeBytes);
  await checkTarget(target);

  for (let attempt = 0; ; attempt++) {
    const found = options.refresh === true && attempt === 0 ? undefined : await findCached(cacheDir, sizeBytes);
    const image = found ?? (await buildIntoCache(cacheDir, sizeBytes, onProgress, signal));
    try {
      await placeCopy(image.imagePath, target, onProgress, signal);
    } catch (error) {
      // Another build may just have put a newer image in the place of this one.
      if (isHvError(error, 'not-found') && attempt === 0) continue;
      throw error;
    }
    return {
      path: target,
      virtualSizeBytes: sizeBytes,
      kernelVersion: image.kernelVersion,
      fromCache: found !== undefined,
    };
  }
}

async function findCached(cacheDir: string, sizeBytes: number): Promise<TemplateInfo | undefined> {
  try {
    return await cachedTemplate(cacheDir, sizeBytes);
  } catch (error) {
    throw fromSystemError(error, `could not use the cache folder ${cacheDir}`, { path: cacheDir });
  }
}

export function defaultCacheDir(): string {
  if (process.getuid?.() === 0) return '/var/cache/hv';
  return join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'hv');
}

function checkSize(sizeBytes: number): void {
  const fits =
    Number.isSafeInteger(sizeBytes) &&
    sizeBytes % MIB === 0 &&
    sizeBytes >= MIN_TEMPLATE_SIZE_BYTES &&
    sizeBytes <= MAX_TEMPLATE_SIZE_BYTES;
  if (fits) return;
  throw new HvError('invalid-argument', "the template's size must be a multiple of 1 MiB from 512 MiB to 1 TiB", {
    detail: { sizeBytes, minBytes: MIN_TEMPLATE_SIZE_BYTES, maxBytes: MAX_TEMPLATE_SIZE_BYTES },
  });
}

/** All that can be said before anything is made. */
async function checkTarget(target: string): Promise<void> {
  if (extname(target).toLowerCase() !== '.vhdx') {
    throw new HvError('invalid-argument', `the template's name must end with .vhdx: ${target}`, {
      detail: { path: target },
    });
  }
  try {
    if (!(await stat(dirname(target))).isDirectory()) {
      throw new HvError('not-found', `${dirname(target)} is not a folder`, { detail: { path: dirname(target) } });
    }
    await access(dirname(target), constants.W_OK);
  } catch (error) {
    throw fromSystemError(error, `could not use the folder ${dirname(target)}`, { path: dirname(target) });
  }
  try {
    await stat(target);
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return;
    throw fromSystemError(error, `could not look at ${target}`, { path: target });
  }
  throw new HvError('already-exists', `${target} exists already`, {
    detail: { path: target },
    hint: 'Choose another name, or delete the file first.',
  });
}

async function buildIntoCache(
  cacheDir: string,
  sizeBytes: number,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<TemplateInfo> {
  await checkTemplateRequirements();
  const scratch = await makeScratch(cacheDir);
  try {
    const parts = await obtainGuestParts({
      packageFolder: join(cacheDir, 'packages'),
      scratch,
      signal,
      onStep: (phase, done, total) => onProgress({ phase, done, total }),
    });
    onProgress({ phase: 'system', done: 0, total: 1 });
    const initramfs = compressLz4Legacy(buildInitramfs(parts));
    const commandLine = KERNEL_COMMAND_LINE;
    const uki = buildUki(parts.stub, { kernel: parts.kernel, initramfs, commandLine, osRelease: GUEST_OS_RELEASE });
    onProgress({ phase: 'system', done: 1, total: 1 });
    throwIfAborted(signal, 'building the template');

    onProgress({ phase: 'disk', done: 0, total: 1 });
    const image = join(scratch, 'disk.vhdx');
    await writeTemplateDisk(image, sizeBytes, (device) =>
      writeDiskImage(
        device,
        { kernel: parts.kernel, initramfs, uki, commandLine },
        { folder: GRUB_FOLDER },
        scratch,
        signal,
      ),
    );
    onProgress({ phase: 'disk', done: 1, total: 1 });
    return await publishTemplate(cacheDir, image, { sizeBytes, kernelVersion: parts.kernelVersion });
  } catch (error) {
    throw await explainFailure(error, cacheDir);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function makeScratch(cacheDir: string): Promise<string> {
  try {
    await mkdir(cacheDir, { recursive: true });
    await removeStaleWork(cacheDir);
    const freeBytes = await freeSpace(cacheDir);
    if (freeBytes < NEEDED_SPACE_BYTES) throw noSpace(cacheDir, freeBytes);
    return await mkdtemp(join(cacheDir, 'work-'));
  } catch (error) {
    throw fromSystemError(error, `could not use the cache folder ${cacheDir}`, { path: cacheDir });
  }
}

/** A tool that met a full disk only says that it failed. */
async function explainFailure(error: unknown, cacheDir: string): Promise<unknown> {
  if (isHvError(error, 'process-failed')) {
    const freeBytes = await freeSpace(cacheDir);
    if (freeBytes < MIB) return noSpace(cacheDir, freeBytes, error);
  }
  return fromSystemError(error, 'could not build the template', { cacheDir });
}

async function freeSpace(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

function noSpace(cacheDir: string, freeBytes: number, cause?: unknown): HvError {
  return new HvError('no-space', `building the template needs ${NEEDED_SPACE_BYTES / MIB} MiB free in ${cacheDir}`, {
    detail: { path: cacheDir, freeBytes, neededBytes: NEEDED_SPACE_BYTES },
    hint: 'Free some space, or choose another cache folder.',
    ...(cause === undefined ? {} : { cause }),
  });
}
