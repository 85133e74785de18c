import { readdir, readFile, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { HvError } from '../../errors/index.ts';
import { type CpioEntry, encodeCpio } from '../../formats/cpio/index.ts';
import { elfNeededLibraries, isElf64 } from './elf.ts';
import { GUEST_FILES, GUEST_FOLDERS, GUEST_LINKS } from './guest-files.ts';
import { type KernelModule, modprobeTables } from './kernel-modules.ts';

export interface InitramfsParts {
  readonly kernelVersion: string;
  readonly modules: readonly KernelModule[];
  readonly busybox: Uint8Array;
  /** Where busybox wants its links: `bin/ls`, as `busybox --list-full` prints. */
  readonly appletPaths: readonly string[];
  readonly agent: Uint8Array;
  /** The agent's libraries by the name under which they are asked for. */
  readonly libraries: ReadonlyMap<string, Uint8Array>;
}

/** The dynamic loader's place is fixed by the ABI of x86-64; the other libraries lie where Debian's loader looks first. */
const LOADER = 'ld-linux-x86-64.so.2';
const LIBRARY_FOLDER = 'lib/x86_64-linux-gnu';

/** Makes the guest's root file system as a newc archive, not compressed. */
export function buildInitramfs(parts: InitramfsParts): Uint8Array {
  const moduleFolder = `lib/modules/${parts.kernelVersion}`;
  const entries: CpioEntry[] = [...GUEST_FOLDERS, moduleFolder, LIBRARY_FOLDER].map((path) => ({
    kind: 'folder',
    path,
    mode: path === 'tmp' ? 0o1777 : 0o755,
  }));
  // The kernel opens /dev/console for init before anything is mounted.
  entries.push({ kind: 'characterDevice', path: 'dev/console', mode: 0o600, major: 5, minor: 1 });
  entries.push({ kind: 'file', path: 'bin/busybox', mode: 0o755, data: parts.busybox });
  for (const { path, mode, text } of GUEST_FILES) {
    entries.push({ kind: 'file', path, mode, data: new TextEncoder().encode(text) });
  }
  for (const [path, target] of GUEST_LINKS) entries.push({ kind: 'link', path, target });
  const taken = new Set(entries.map((entry) => entry.path));
  for (const path of parts.appletPaths) {
    if (!/^(usr\/)?s?bin\/[^/]+$/.test(path) || taken.has(path)) continue;
    entries.push({ kind: 'link', path, target: '/bin/busybox' });
  }

  entries.push({ kind: 'file', path: 'usr/sbin/qemu-ga', mode: 0o755, data: parts.agent });
  for (const [name, data] of parts.libraries) {
    const path = name === LOADER ? `lib64/${name}` : `${LIBRARY_FOLDER}/${name}`;
    entries.push({ kind: 'file', path, mode: 0o755, data });
  }

  const tables = modprobeTables(parts.modules);
  for (const { fileName, data } of parts.modules) {
    entries.push({ kind: 'file', path: `${moduleFolder}/${fileName}`, mode: 0o644, data });
  }
  for (const [name, text] of [
    ['modules.dep', tables.dep],
    ['modules.alias', tables.alias],
  ] as const) {
    entries.push({ kind: 'file', path: `${moduleFolder}/${name}`, mode: 0o644, data: Buffer.from(text) });
  }
  return encodeCpio(entries);
}

/**
 * Finds what a program needs, and what that needs, in unpacked packages.
 * @param roots folders into which packages were unpacked
 * @returns the libraries by name, and the names that none of the packages has
 */
export async function collectLibraries(
  program: Uint8Array,
  roots: readonly string[],
): Promise<{ libraries: ReadonlyMap<string, Uint8Array>; missing: readonly string[] }> {
  const pathByName = new Map<string, string>();
  for (const root of roots) {
    for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
      if (/\.so(\.|$)/.test(entry.name) && !entry.isDirectory()) {
        pathByName.set(entry.name, join(entry.parentPath, entry.name));
      }
    }
  }
  const libraries = new Map<string, Uint8Array>();
  const missing: string[] = [];
  const visit = async (file: Uint8Array): Promise<void> => {
    for (const name of elfNeededLibraries(file)) {
      if (libraries.has(name) || missing.includes(name)) continue;
      const path = pathByName.get(name);
      const data = path === undefined ? undefined : await readLibrary(path);
      if (data === undefined) {
        missing.push(name);
        continue;
      }
      libraries.set(name, data);
      await visit(data);
    }
  };
  await visit(program);
  return { libraries, missing };
}

/** A library's link may point into another package, or be absolute: then it is not here. */
async function readLibrary(path: string): Promise<Uint8Array | undefined> {
  try {
    const data = await readFile(await realpath(path));
    return isElf64(data) ? data : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new HvError('io', `could not read ${path}`, { detail: { path }, cause: error });
  }
}
