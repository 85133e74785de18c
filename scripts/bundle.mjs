// Bundles what is started again and again: a few files load in a third of the time of hundreds of them.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** Processes and threads that other ones start, and the commands of `hv`; as the compiler wrote them, below dist/. */
const ENTRY_POINTS = [
  'cli/program.js',
  'engines/qemu/keeper/main.js',
  'engines/qemu/mounts/main.js',
  'engines/qemu/worker/main.js',
  'protocols/nbd/data-plane-thread.js',
];
/** All bundles lie in this one folder, so that the way from each to the rest of dist/ is the same. */
const FOLDER = 'bundles';
/** Native code stays a package of its own. */
const EXTERNAL = ['koffi'];

/**
 * Puts the bundles of a freshly compiled dist/ into dist/bundles/, and in the place of each entry point a line that loads
 * its bundle. Everything else in dist/ stays as it is, for who uses the library.
 *
 * @returns the files that it made, relative to dist/
 */
export async function bundle(root) {
  const dist = join(root, 'dist');
  const folder = join(dist, FOLDER);
  const entryPoints = ENTRY_POINTS.filter((file) => existsSync(join(dist, file)));
  if (entryPoints.length === 0) return [];
  const { rolldown } = await import('rolldown'); // not before the packages are installed
  const build = await rolldown({
    cwd: root,
    input: Object.fromEntries(entryPoints.map((file) => [bundleName(file), join(dist, file)])),
    platform: 'node',
    external: EXTERNAL,
    plugins: [keepPlaces(folder)],
  });
  const { output } = await build.write({ dir: folder, format: 'es', chunkFileNames: '[name].js' });
  await build.close();
  for (const file of entryPoints) {
    const path = relative(dirname(join(dist, file)), join(folder, `${bundleName(file)}.js`));
    writeFileSync(join(dist, file), `export * from '${path.startsWith('.') ? path : `./${path}`}';\n`);
  }
  const licenses = licensesOf(output.flatMap((chunk) => chunk.moduleIds ?? []));
  writeFileSync(join(folder, 'LICENSES'), licenses);
  return [...output.map((chunk) => chunk.fileName), 'LICENSES'].map((name) => join(FOLDER, name));
}

const bundleName = (file) => file.replace(/\.js$/, '').replaceAll('/', '-');

/** Modules find files by where they lie themselves: in a bundle too, `import.meta.url` is the place that they had. */
function keepPlaces(folder) {
  return {
    name: 'keep-places',
    transform(code, id) {
      if (!code.includes('import.meta.url')) return undefined;
      const place = JSON.stringify(relative(folder, id));
      return { code: code.replaceAll('import.meta.url', `new URL(${place}, import.meta.url).href`), map: null };
    },
  };
}

/** The licences of the packages whose code is in the bundles, which have to go with it. */
function licensesOf(moduleIds) {
  const packages = new Set();
  for (const id of moduleIds) {
    const [, path] = /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id) ?? [];
    if (path) packages.add(path);
  }
  return [...packages]
    .sort()
    .map((path) => {
      const { name, version } = JSON.parse(readFileSync(join(path, 'package.json'), 'utf8'));
      const file = readdirSync(path).find((entry) => /^licen[cs]e/i.test(entry));
      if (file === undefined) throw new Error(`${name} has no licence file: it cannot be bundled`);
      return `${name} ${version}\n\n${readFileSync(join(path, file), 'utf8').trim()}\n`;
    })
    .join(`\n${'-'.repeat(80)}\n\n`);
}
