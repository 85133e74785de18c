import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HvError, isHvError, isSystemError } from '../../errors/index.ts';
import { runProgram } from '../../system/index.ts';

/**
 * Debian packages without installing them: apt finds and downloads (and checks its signatures), dpkg-deb unpacks.
 * What was downloaded stays in the cache and is used again; a list of it serves where there is no network.
 *
 *     apt-cache depends --> names --> apt-get download --print-uris --> files wanted --> the missing ones downloaded
 */
export interface PackageOptions {
  /** Holds the .deb files and packages.json. */
  readonly folder: string;
  readonly signal?: AbortSignal | undefined;
}

export interface PackageFile {
  readonly name: string;
  readonly path: string;
}

const QUERY_DEADLINE_MS = 60_000;
const DOWNLOAD_DEADLINE_MS = 300_000;
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]*$/;

/** The packages that these depend on directly, real ones only; none of names that apt does not know. @throws HvError `missing-dependency` */
export async function packageDependencies(
  names: readonly string[],
  signal?: AbortSignal | undefined,
): Promise<readonly string[]> {
  const { stdout } = await runProgram('apt-cache', ['depends', '--important', ...checked(names)], {
    deadlineMs: QUERY_DEADLINE_MS,
    okExitCodes: [0, 100],
    signal,
  });
  const found = [...stdout.toString().matchAll(/^ [ |](?:Pre)?Depends: ([^\s<>]+)$/gm)].map(([, name]) => name ?? '');
  return [...new Set(found)].filter((name) => PACKAGE_NAME.test(name));
}

/**
 * Has the newest version of each package that apt knows in the cache, and says where.
 * Without a network, or without apt's lists, what an earlier call left serves.
 * @throws HvError `missing-dependency` (no apt), `not-found` (apt knows no such package), `io` (download failed)
 */
export async function obtainPackages(
  names: readonly string[],
  options: PackageOptions,
): Promise<readonly PackageFile[]> {
  await mkdir(options.folder, { recursive: true });
  const known = await readIndex(options.folder);
  let wanted: ReadonlyMap<string, WantedFile>;
  try {
    wanted = await askForFiles(names, options);
  } catch (error) {
    const cached = await cachedFiles(names, known, options.folder);
    if (cached) return cached;
    throw error;
  }
  const missing: string[] = [];
  for (const [name, file] of wanted) {
    if (!(await hasSize(join(options.folder, file.fileName), file.sizeBytes))) missing.push(name);
  }
  if (missing.length > 0) {
    try {
      await download(missing, options);
    } catch (error) {
      if (isHvError(error, 'aborted')) throw error;
      const cached = await cachedFiles(names, known, options.folder);
      if (cached) return cached;
      throw error;
    }
  }
  // A refresh of apt's lists inside download may have changed what is newest.
  if (missing.length > 0) wanted = await askForFiles(names, options);
  await writeIndex(options.folder, { ...known, ...Object.fromEntries(wanted) });
  return names.map((name) => ({ name, path: join(options.folder, wanted.get(name)?.fileName ?? '') }));
}

/** Unpacks a package into an empty folder, as the user who runs this. */
export async function unpackPackage(file: string, folder: string, signal?: AbortSignal | undefined): Promise<void> {
  await mkdir(folder, { recursive: true });
  await runProgram('dpkg-deb', ['--extract', file, folder], { deadlineMs: DOWNLOAD_DEADLINE_MS, signal });
}

interface WantedFile {
  readonly fileName: string;
  readonly sizeBytes: number;
}

/** Asks apt which files hold the newest versions; refreshes apt's lists once where they are empty and we may. */
async function askForFiles(
  names: readonly string[],
  options: PackageOptions,
): Promise<ReadonlyMap<string, WantedFile>> {
  const ask = async (emptyFolder: string): Promise<ReadonlyMap<string, WantedFile>> => {
    const { stdout } = await runProgram('apt-get', ['download', '--print-uris', ...checked(names)], {
      deadlineMs: QUERY_DEADLINE_MS,
      okExitCodes: [0, 100],
      signal: options.signal,
      cwd: emptyFolder,
    });
    const wanted = new Map<string, WantedFile>();
    for (const [, fileName = '', size] of stdout.toString().matchAll(/^'[^']*' (\S+\.deb) (\d+)/gm)) {
      if (fileName.includes('/')) continue;
      wanted.set(fileName.split('_')[0] ?? '', { fileName, sizeBytes: Number(size) });
    }
    return wanted;
  };
  // apt says nothing of files that lie in its working folder already.
  const wanted = await inScratch(options.folder, async (folder) => {
    const first = await ask(folder);
    const isComplete = names.every((name) => first.has(name));
    return isComplete || !(await refreshPackageLists(options.signal)) ? first : await ask(folder);
  });
  const unknown = names.filter((name) => !wanted.has(name));
  if (unknown.length > 0) {
    throw new HvError('not-found', `apt knows no package ${unknown.join(', ')}`, {
      detail: { packages: unknown },
      hint: 'Refresh its lists as root: apt-get update',
    });
  }
  return wanted;
}

/** Into a folder of its own first: what is cut off, or done twice at once, never looks like a whole package. */
async function download(names: readonly string[], options: PackageOptions): Promise<void> {
  try {
    await inScratch(options.folder, async (scratch) => {
      const run = (): Promise<unknown> =>
        runProgram('apt-get', ['download', '--quiet', ...checked(names)], {
          deadlineMs: DOWNLOAD_DEADLINE_MS,
          cwd: scratch,
          env: proxyEnvironment(),
          signal: options.signal,
        });
      try {
        await run();
      } catch (error) {
        // Old lists name files that the archive has replaced since.
        if (!isHvError(error, 'process-failed') || !(await refreshPackageLists(options.signal))) throw error;
        await run();
      }
      for (const fileName of await readdir(scratch)) {
        if (fileName.endsWith('.deb')) await rename(join(scratch, fileName), join(options.folder, fileName));
      }
    });
  } catch (error) {
    throw downloadFailed(names, error);
  }
}

async function inScratch<T>(parent: string, work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(parent, 'download-'));
  try {
    return await work(folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function downloadFailed(names: readonly string[], cause: unknown): unknown {
  if (!isHvError(cause, 'process-failed')) return cause;
  return new HvError('io', `could not download the packages ${names.join(', ')}`, {
    detail: { packages: [...names], ...cause.detail },
    hint: 'Check the network; where the package lists are old, run as root: apt-get update',
    cause,
  });
}

/** @returns whether apt's lists are fresh now; false for a plain user, who may not */
export async function refreshPackageLists(signal: AbortSignal | undefined): Promise<boolean> {
  if (process.getuid?.() !== 0) return false;
  try {
    await runProgram('apt-get', ['update', '--quiet'], {
      deadlineMs: DOWNLOAD_DEADLINE_MS,
      env: proxyEnvironment(),
      signal,
    });
    return true;
  } catch (error) {
    if (isHvError(error, 'process-failed') || isHvError(error, 'timeout')) return false;
    throw error;
  }
}

/** apt obeys these; everything else it needs is in its own configuration. */
function proxyEnvironment(): Record<string, string | undefined> {
  const names = ['http_proxy', 'https_proxy', 'ftp_proxy', 'no_proxy', 'all_proxy'];
  return Object.fromEntries(
    names.flatMap((name) => [name, name.toUpperCase()]).map((name) => [name, process.env[name]]),
  );
}

/** Names go on a command line: nothing that could be read as an option. */
function checked(names: readonly string[]): readonly string[] {
  const odd = names.find((name) => !PACKAGE_NAME.test(name));
  if (odd !== undefined)
    throw new HvError('invalid-argument', `"${odd}" is no package name`, { detail: { name: odd } });
  return names;
}

async function hasSize(path: string, sizeBytes: number): Promise<boolean> {
  try {
    return (await stat(path)).size === sizeBytes;
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return false;
    throw error;
  }
}

type PackageIndex = Readonly<Record<string, WantedFile>>;

const INDEX_NAME = 'packages.json';

async function readIndex(folder: string): Promise<PackageIndex> {
  try {
    const value: unknown = JSON.parse(await readFile(join(folder, INDEX_NAME), 'utf8'));
    return isIndex(value) ? value : {};
  } catch (error) {
    if (isSystemError(error, 'ENOENT') || error instanceof SyntaxError) return {};
    throw error;
  }
}

function isIndex(value: unknown): value is PackageIndex {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every(
      (file: Partial<WantedFile> | null) =>
        typeof file?.fileName === 'string' && !file.fileName.includes('/') && typeof file.sizeBytes === 'number',
    )
  );
}

async function writeIndex(folder: string, index: PackageIndex): Promise<void> {
  const temporary = join(folder, `${INDEX_NAME}.${process.pid}`);
  await writeFile(temporary, `${JSON.stringify(index, undefined, 1)}\n`);
  await rename(temporary, join(folder, INDEX_NAME));
}

async function cachedFiles(
  names: readonly string[],
  index: PackageIndex,
  folder: string,
): Promise<readonly PackageFile[] | undefined> {
  const files: PackageFile[] = [];
  for (const name of names) {
    const file = index[name];
    if (!file || !(await hasSize(join(folder, file.fileName), file.sizeBytes))) return undefined;
    files.push({ name, path: join(folder, file.fileName) });
  }
  return files;
}
