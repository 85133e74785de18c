// Makes node_modules match package-lock.json.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runStep, tailOf } from './run-step.mjs';

/** Inside node_modules, so that it goes when they go. */
const STAMP = 'node_modules/.hv-lock';

function lockHash(root) {
  const hash = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  return hash.update(`${process.platform} ${process.arch}`).digest('hex');
}

/** True when node_modules hold what the lockfile says: by our stamp, or by npm's own record of what it installed. */
export function npmPackagesMatch(root) {
  const stamp = join(root, STAMP);
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lockHash(root)) return true;
  const record = join(root, 'node_modules/.package-lock.json');
  if (!existsSync(record)) return false;
  const installed = JSON.parse(readFileSync(record, 'utf8')).packages ?? {};
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages ?? {};
  const own = Object.keys(wanted['']?.optionalDependencies ?? {}).map((name) => `node_modules/${name}`);
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '' || (entry.optional && !own.includes(path) && !isBinaryForThisSystem(entry))) return true;
    return installed[path]?.version === entry.version && existsSync(join(root, path, 'package.json'));
  });
}

/** Of the optional packages npm installs those whose system fits; the rest are helpers of ones that do not. */
function isBinaryForThisSystem(entry) {
  if (entry.os === undefined) return false;
  const allows = (list, value) => list === undefined || list.includes(value);
  const libc = process.report?.getReport?.().header?.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
  return allows(entry.os, process.platform) && allows(entry.cpu, process.arch) && allows(entry.libc, libc);
}

/** @throws {Error} with a message for a person */
export async function installNpmPackages(root, say) {
  say('Installing npm packages from the lockfile (npm ci)');
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  // Under `npm start` npm says where it lies itself.
  const npm = process.env.npm_execpath;
  const { status, output } = npm?.endsWith('.js')
    ? await runStep(process.execPath, [npm, ...args], { cwd: root })
    : await runStep('npm', args, { cwd: root });
  if (status !== 0) throw new Error(`npm ci failed:\n${tailOf(output)}\n`);
  writeFileSync(join(root, STAMP), lockHash(root));
}
