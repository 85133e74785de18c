import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { HvError } from '../errors/index.ts';

/** The package's root: this file lies at <root>/src/system or <root>/dist/system. */
const ROOT = new URL('../../', import.meta.url).href;
const SRC = new URL('src/', ROOT).href;
const DIST = new URL('dist/', ROOT).href;

/**
 * Where the built form of a process's or worker thread's entry point lies. Node 20 runs no TypeScript, so code that
 * itself runs from src/ (the test runner) starts its children from dist/, which mirrors src/ file for file.
 *
 * @param importMetaUrl the caller's `import.meta.url`
 * @param relativeJs the entry point as seen from the caller, with its built ending: `./worker-main.js`
 * @throws HvError `internal` when the project has not been built
 */
export function entryPoint(importMetaUrl: string, relativeJs: string): URL {
  const asked = new URL(relativeJs, importMetaUrl);
  if (!asked.href.startsWith(SRC)) return asked;
  const built = new URL(asked.href.slice(SRC.length), DIST);
  if (existsSync(built)) return built;
  throw new HvError('internal', `${fileURLToPath(built)} has not been built`, {
    detail: { path: fileURLToPath(built) },
    hint: 'Run `npm run build`.',
  });
}
