import { realpathSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { HvError } from '../errors/index.ts';
import type { ParentPaths } from '../formats/disk-image.ts';
import type { LocatorPaths } from '../formats/vhdx/index.ts';

/**
 * The paths to put into a child's locator. Windows' form throughout, so that Hyper-V finds the parent as well:
 * relative_path `.\name` or `..\folder\name`; absolute_win32_path is this system's path with backslashes (`\vm\base.vhdx`).
 * Both paths must be absolute and free of links.
 * @throws HvError `invalid-argument` when the parent's path holds a backslash, which the format cannot tell from a separator
 */
export function locatorPaths(childPath: string, parentPath: string): LocatorPaths {
  if (parentPath.includes('\\')) {
    throw new HvError('invalid-argument', `a parent's path must not hold a backslash: ${parentPath}`, {
      detail: { path: parentPath },
    });
  }
  const fromChild = relative(dirname(childPath), parentPath);
  const dotted = fromChild.startsWith(`..${sep}`) ? fromChild : `.${sep}${fromChild}`;
  return { relativePath: dotted.replaceAll(sep, '\\'), absolutePath: parentPath.replaceAll(sep, '\\') };
}

/**
 * The places where a child's locator says its parent may lie, best first: relative, volume, absolute.
 * A path with a drive letter or a volume means nothing on this system but its last part, looked for beside the child.
 * UNC and device paths are passed over.
 */
export function parentCandidates(childPath: string, locator: ParentPaths): string[] {
  const folder = dirname(childPath);
  const candidates: string[] = [];
  const { relativePath, volumePath, absolutePath } = locator;
  if (relativePath !== undefined && !relativePath.startsWith('\\') && !/^[a-z]:/i.test(relativePath)) {
    candidates.push(resolve(folder, relativePath.replaceAll('\\', sep)));
  }
  for (const path of [volumePath, absolutePath]) {
    if (path === undefined) continue;
    const local = /^[\\/](?![\\/?.])/.test(path) ? path.replaceAll('\\', sep) : undefined;
    if (local !== undefined && isAbsolute(local)) candidates.push(resolve(local));
    const isOnDrive = /^(\\\\\?\\)?([a-z]:|Volume\{[0-9a-f-]+\})\\/i.test(path);
    const name = isOnDrive ? path.slice(path.lastIndexOf('\\') + 1) : '';
    if (name !== '' && name !== '.' && name !== '..' && basename(name) === name) candidates.push(join(folder, name));
  }
  return [...new Set(candidates)].filter((candidate) => !candidate.includes('\0'));
}

/** Where a child says that its parent lies, for people; a path of such a system as this one as this system writes it. */
export function saidParent({ absolutePath, relativePath, volumePath }: ParentPaths): string | null {
  const isOurs = absolutePath !== undefined && /^\\(?![\\?.])/.test(absolutePath);
  return isOurs ? absolutePath.replaceAll('\\', sep) : (absolutePath ?? relativePath ?? volumePath ?? null);
}

/**
 * Whether a child may have its parent there: in the child's own folder or below it, or where the caller allows it.
 * All paths are free of links.
 */
export function mayHoldParent(childPath: string, parentPath: string, allowed: readonly string[]): boolean {
  return liesIn(dirname(childPath), parentPath) || allowed.some((entry) => liesIn(entry, parentPath));
}

/** Whether a path is that entry itself, or lies in it or below. Both are free of links. */
export function liesIn(entry: string, path: string): boolean {
  const inside = relative(entry, path);
  return inside === '' || (!isAbsolute(inside) && inside !== '..' && !inside.startsWith(`..${sep}`));
}

/** Resolves the links in what a caller allows; what does not exist allows nothing. */
export function resolveAllowed(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    try {
      return [realpathSync(path)];
    } catch {
      return []; // A folder that is not there holds no parent.
    }
  });
}
