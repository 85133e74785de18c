import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { build, isBuildFresh } from './build.mjs';
import { npmPackagesMatch } from './npm-packages.mjs';
import { PACKAGES } from './packages.mjs';
import { installPackages, missingPackages } from './system-packages.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
let folder;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-setup-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
});

function write(path, text, mode = 0o644) {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
  chmodSync(join(folder, path), mode);
  return join(folder, path);
}

describe('missing packages', () => {
  it('are those that dpkg does not have whole and whose files are not there some other way', () => {
    const statusFile = write(
      'status',
      `Package: whole
Status: install ok installed
Version: 1

Package: removed
Status: deinstall ok config-files

Package: broken
Status: install ok half-configured
`,
    );
    const wanted = [
      { package: 'whole', brings: [] },
      { package: 'removed', brings: [] },
      { package: 'broken', brings: ['/nonexistent/file'] },
      { package: 'absent', brings: ['hv-no-such-program'] },
      { package: 'by-hand', brings: ['sh', '/etc/passwd'] },
      { package: 'half-by-hand', brings: ['sh', '/nonexistent/file'] },
    ];
    expect(missingPackages(wanted, { statusFile })).toEqual(['removed', 'broken', 'absent', 'half-by-hand']);
    expect(missingPackages(wanted, { statusFile: join(folder, 'none') })).toContain('whole');
  });

  it('has a list for every purpose, each package once', () => {
    for (const list of Object.values(PACKAGES)) {
      const names = list.map((entry) => entry.package);
      expect(new Set(names).size).toBe(names.length);
    }
    expect(Object.keys(PACKAGES).sort()).toEqual(['bench', 'check', 'start', 'test']);
  });
});

describe('installing packages', () => {
  const log = () => readFileSync(join(folder, 'log'), 'utf8').trim().split('\n');

  /** Programs that write down how they were called. */
  function fake(name, script = '') {
    write(`bin/${name}`, `#!/bin/sh\necho "${name} $* [$DEBIAN_FRONTEND]" >> ${folder}/log\n${script}\n`, 0o755);
    vi.stubEnv('PATH', `${join(folder, 'bin')}:/usr/bin:/bin`);
  }

  it('updates the lists and installs without recommendations or questions, as root', async () => {
    fake('apt-get');
    const said = [];
    await installPackages(['a', 'b'], (line) => said.push(line), { asRoot: true });
    expect(said).toEqual(['Installing system packages: a b']);
    expect(log()).toEqual([
      expect.stringMatching(/^apt-get -q .* update \[noninteractive\]$/),
      expect.stringMatching(/^apt-get -q .* install -y --no-install-recommends a b \[noninteractive\]$/),
    ]);
  });

  it('goes through sudo for others, after saying so', async () => {
    fake('apt-get');
    fake('sudo', 'exec "$@"');
    write('bin/true', '#!/bin/sh\n', 0o755);
    const said = [];
    // sudo -n true: the fake has no options of its own
    write('bin/-n', '#!/bin/sh\n', 0o755);
    await installPackages(['a'], (line) => said.push(line), { asRoot: false });
    expect(said).toEqual(['Installing system packages through sudo: a']);
    expect(log().filter((line) => line.startsWith('apt-get'))).toEqual([
      expect.stringContaining('update [noninteractive]'),
      expect.stringContaining('install -y --no-install-recommends a [noninteractive]'),
    ]);
  });

  it('gives the exact line to run when it may not', async () => {
    fake('apt-get');
    fake('sudo', 'exit 1');
    await expect(installPackages(['a', 'b'], () => {}, { asRoot: false })).rejects.toThrow(
      /apt-get update && .*apt-get install -y --no-install-recommends a b/,
    );
    expect(log().every((line) => line.startsWith('sudo -n true'))).toBe(true);
  });

  it('says what apt said when it fails', async () => {
    fake('apt-get', 'case "$*" in *install*) echo "E: Unable to locate package a" >&2; exit 100;; esac');
    await expect(installPackages(['a'], () => {}, { asRoot: true })).rejects.toThrow(/Unable to locate package a/);
  });
});

describe('npm packages', () => {
  function project(wanted, installed) {
    write('package-lock.json', JSON.stringify({ packages: wanted }));
    if (!installed) return;
    write('node_modules/.package-lock.json', JSON.stringify({ packages: installed }));
    for (const path of Object.keys(installed)) write(join(path, 'package.json'), '{}');
  }
  const a = { version: '1.0.0' };

  it('match when npm installed every one that this system wants', () => {
    const wanted = {
      '': { optionalDependencies: { own: '1' } },
      'node_modules/a': a,
      'node_modules/own': { ...a, optional: true },
      'node_modules/helper': { ...a, optional: true },
      'node_modules/elsewhere': { ...a, optional: true, os: ['plan9'] },
      'node_modules/here': { ...a, optional: true, os: [process.platform], cpu: [process.arch] },
    };
    const installed = { 'node_modules/a': a, 'node_modules/own': a, 'node_modules/here': a };
    project(wanted, installed);
    expect(npmPackagesMatch(folder)).toBe(true);
    for (const path of Object.keys(installed)) {
      rmSync(join(folder, path), { recursive: true });
      expect(npmPackagesMatch(folder)).toBe(false);
      write(join(path, 'package.json'), '{}');
    }
  });

  it('do not match with another version or nothing at all', () => {
    project({ 'node_modules/a': a });
    expect(npmPackagesMatch(folder)).toBe(false);
    project({ 'node_modules/a': a }, { 'node_modules/a': { version: '1.0.1' } });
    expect(npmPackagesMatch(folder)).toBe(false);
  });
});

describe('the build', () => {
  it('mirrors src, takes assets along, removes what is stale, and knows when it is fresh', async () => {
    for (const file of [
      'tsconfig.json',
      'tsconfig.build.json',
      'package.json',
      'package-lock.json',
      'scripts/build.mjs',
      'scripts/bundle.mjs',
    ])
      write(file, readFileSync(join(ROOT, file), 'utf8'));
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    write('src/cli/main.ts', "#!/usr/bin/env node\nimport { x } from '../other.ts';\nconsole.log(x);\n");
    write('src/other.ts', 'export const x: number = 1;\n');
    write('src/cli/program.ts', "import { x } from '../other.ts';\nexport const found = [x, import.meta.url];\n");
    write('src/other.test.ts', 'this is not even TypeScript');
    write('src/room/assets/init.sh', '#!/bin/sh\n', 0o755);
    write('dist/gone/old.js', '');
    expect(isBuildFresh(folder)).toBe(false);
    await build(folder);
    expect(isBuildFresh(folder)).toBe(true);
    expect(readFileSync(join(folder, 'dist/cli/main.js'), 'utf8')).toContain("from '../other.js'");
    expect(statSync(join(folder, 'dist/cli/main.js')).mode & 0o111).toBe(0o111);
    expect(statSync(join(folder, 'dist/room/assets/init.sh')).mode & 0o111).toBe(0o111);
    expect(existsSync(join(folder, 'dist/other.test.js'))).toBe(false);
    expect(existsSync(join(folder, 'dist/gone'))).toBe(false);
    // An entry point loads its bundle, and the code in it finds its files from the place that it had.
    const program = join(folder, 'dist/cli/program.js');
    expect(readFileSync(program, 'utf8')).toBe("export * from '../bundles/cli-program.js';\n");
    expect((await import(program)).found).toEqual([1, pathToFileURL(program).href]);

    utimesSync(join(folder, 'src/other.ts'), 1, 1);
    expect(isBuildFresh(folder)).toBe(false);
    rmSync(join(folder, 'src/other.ts'));
    await expect(build(folder)).rejects.toThrow(/other\.ts/);
    expect(isBuildFresh(folder)).toBe(false);
  });
});
