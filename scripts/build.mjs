// Builds dist/ from src/: JavaScript and types by tsc, other files of src/**/assets/ as they are. dist/ mirrors src/,
// with the bundles of what is started again and again beside it.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle } from './bundle.mjs';
import { runStep, secondsSince } from './run-step.mjs';

const STAMP = 'dist/.hv-build';
const SCRIPTS = ['package-lock.json', 'scripts/build.mjs', 'scripts/bundle.mjs'];

/** Files below a folder, relative to it; nothing when it does not exist. */
export function filesBelow(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(folder.length + 1))
    .sort();
}

const isAsset = (file) => `${sep}${file}`.includes(`${sep}assets${sep}`);
const isTest = (file) => file.endsWith('.test.ts');

/** What the build depends on, by name, size and time: reading them all would cost more than it saves. */
function fingerprint(root) {
  const hash = createHash('sha256');
  const inputs = filesBelow(join(root, 'src'))
    .filter((file) => !isTest(file))
    .map((file) => join('src', file));
  for (const file of ['tsconfig.json', 'tsconfig.build.json', ...SCRIPTS, ...inputs]) {
    const { size, mtimeMs } = statSync(join(root, file));
    hash.update(`${file} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

export function isBuildFresh(root) {
  const stamp = join(root, STAMP);
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === fingerprint(root);
}

/** @throws {Error} with what the compiler said */
export async function build(root) {
  const before = fingerprint(root);
  rmSync(join(root, STAMP), { force: true });
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const { status, output } = await runStep(process.execPath, [compiler, '-p', 'tsconfig.build.json'], { cwd: root });
  if (status !== 0) throw new Error(`The build failed:\n${output.trimEnd()}\n`);
  const sources = filesBelow(join(root, 'src'));
  const assets = sources.filter(isAsset);
  for (const file of assets) copyAsset(root, file);
  removeStale(root, sources, new Set([...assets, ...(await bundle(root))]));
  const main = join(root, 'dist/cli/main.js');
  if (existsSync(main)) chmodSync(main, 0o755);
  writeFileSync(join(root, STAMP), before); // a file changed meanwhile is built at the next call
}

function copyAsset(root, file) {
  const target = join(root, 'dist', file);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(join(root, 'src', file), target);
}

/** What a deleted or renamed source left behind would still be found and run. */
function removeStale(root, sources, others) {
  const built = new Set(
    sources
      .filter((file) => file.endsWith('.ts') && !isTest(file) && !isAsset(file))
      .flatMap((file) => [file.replace(/\.ts$/, '.js'), file.replace(/\.ts$/, '.d.ts')]),
  );
  for (const file of filesBelow(join(root, 'dist'))) {
    if (!built.has(file) && !others.has(file)) rmSync(join(root, 'dist', file));
  }
  removeEmptyFolders(join(root, 'dist'));
}

function removeEmptyFolders(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const path = join(folder, entry.name);
    removeEmptyFolders(path);
    if (readdirSync(path).length === 0) rmSync(path, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const started = performance.now();
  try {
    await build(fileURLToPath(new URL('..', import.meta.url)));
    console.log(`Built dist in ${secondsSince(started)}.`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
