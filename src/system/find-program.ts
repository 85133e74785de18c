import { accessSync, constants, statSync } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { delimiter, isAbsolute, join } from 'node:path';
import { HvError } from '../errors/index.ts';
import { packageOf } from './packages.ts';

/** Where Debian puts programs; a plain user's PATH often lacks the sbin folders. */
const STANDARD_FOLDERS = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'] as const;

/** The folders in which programs are looked for, and the PATH that programs are given. Relative entries are dropped. */
export function programFolders(): readonly string[] {
  const own = (process.env.PATH ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  return [...new Set([...own, ...STANDARD_FOLDERS])];
}

function candidates(name: string): readonly string[] {
  if (name === '' || name.includes('\0')) return [];
  if (isAbsolute(name)) return [name];
  if (name.includes('/')) return []; // relative paths depend on the working folder: never
  return programFolders().map((folder) => join(folder, name));
}

/** The absolute path of a program, or undefined where this host does not have it. */
export async function findProgram(name: string): Promise<string | undefined> {
  for (const path of candidates(name)) {
    try {
      await access(path, constants.X_OK);
      if ((await stat(path)).isFile()) return path;
    } catch {
      // Not here or not for us: the next folder.
    }
  }
  return undefined;
}

/** The same on the disk data plane's thread, where everything is synchronous. */
export function findProgramSync(name: string): string | undefined {
  for (const path of candidates(name)) {
    try {
      accessSync(path, constants.X_OK);
      if (statSync(path).isFile()) return path;
    } catch {
      // As above.
    }
  }
  return undefined;
}

/** @throws HvError `missing-dependency`, with the package to install as its hint */
export async function requireProgram(name: string): Promise<string> {
  const path = await findProgram(name);
  if (path === undefined) throw missingProgram(name);
  return path;
}

export function missingProgram(name: string): HvError {
  const aptPackage = packageOf(name);
  return new HvError('missing-dependency', `the program ${name} is not installed`, {
    detail: { program: name, ...(aptPackage === undefined ? {} : { package: aptPackage }) },
    hint:
      aptPackage === undefined
        ? `Install ${name}.`
        : `Install it: apt-get install --no-install-recommends ${aptPackage}`,
  });
}
