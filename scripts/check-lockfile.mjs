// The lockfile must work behind any registry: no addresses, a checksum for everything, no stand-ins.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param {{ packages?: Record<string, object> }} lockfile @returns {string[]} one sentence a fault */
export function lockfileFaults(lockfile) {
  const faults = [];
  const packages = lockfile.packages ?? {};
  for (const [path, entry] of Object.entries(packages)) {
    if (path === '') continue;
    if (entry.resolved !== undefined) faults.push(`${path} carries an address: ${entry.resolved}`);
    if (entry.integrity === undefined) faults.push(`${path} has no checksum`);
    // npm leaves out an optional package that its registry did not have, and npm ci then refuses the lockfile.
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const found = packages[`${path}/node_modules/${name}`] ?? packages[`node_modules/${name}`];
      if (found === undefined) faults.push(`${path} wants ${name} ${version}, which the lockfile lacks`);
    }
  }
  return faults;
}

export function checkLockfile(root) {
  return lockfileFaults(JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')));
}
