import { describe, expect, it } from 'vitest';
import { findViolations, hasComputedImport, importsOf, readTable, roomOf } from './check-imports.mjs';

const MARKDOWN = `
# Text before
\`\`\`imports
errors ->
async -> errors
everyone -> errors, async
native ->
system -> native
store -> system
formats/* -> store
formats/gpt -> formats/mbr
disk -> formats/*, store
protocols ->
protocols/* -> protocols
host ->
engines/qemu -> host, disk
engines/hyperv -> host
facade -> host
compose -> engines/*, facade
index -> facade, compose
\`\`\`
\`\`\`doors
store/byte-store.ts   the contract
\`\`\`
`;
const table = readTable(MARKDOWN);

/** A small project in which everything is in order, and the given files beside it. */
function violations(files, markdown = MARKDOWN) {
  const sources = new Map([
    ['errors/index.ts', ''],
    ['errors/codes.ts', ''],
    ['native/index.ts', ''],
    ['system/index.ts', "import { libc } from '../native/index.ts';"],
    ['store/index.ts', "export * from './byte-store.ts';"],
    ['store/byte-store.ts', ''],
    ['store/file-store.ts', ''],
    ['formats/mbr/index.ts', ''],
    ['formats/gpt/index.ts', ''],
    ['formats/vhdx/index.ts', ''],
    ['formats/vhdx/worker.ts', ''],
    ['disk/index.ts', ''],
    ['protocols/lines.ts', ''],
    ['host/index.ts', ''],
    ['engines/qemu/index.ts', ''],
    ['engines/hyperv/index.ts', ''],
    ['facade/index.ts', ''],
    ['compose.ts', "const engine = await import('./engines/qemu/index.ts');"],
    ...Object.entries(files),
  ]);
  return findViolations(readTable(markdown), sources);
}

describe('a project in order', () => {
  it('has no violations', () => {
    expect(
      violations({
        'disk/chain.ts': `import type { V } from '../formats/vhdx/index.ts';
          import { type B } from '../store/byte-store.ts';
          import { HvError } from '../errors/index.ts';
          import { x } from './index.ts';
          import { readFileSync } from 'node:fs';`,
        'formats/gpt/gpt.ts': "import { mbr } from '../mbr/index.ts'; import '../../store/index.ts';",
        'protocols/nbd/server.ts': "import { lines } from '../lines.ts';",
        'index.ts': "export { Vm } from './facade/index.ts';",
        'native/koffi.ts': "const koffi = createRequire(import.meta.url)('koffi');",
        'compose.test.ts': "import { compose } from './compose.ts';",
      }),
    ).toEqual([]);
  });
});

describe('violations', () => {
  it.each([
    ['an arrow that the table lacks', { 'store/a.ts': "import '../disk/index.ts';" }, 'store may not import disk'],
    ['a type-only import', { 'store/a.ts': "import type { D } from '../disk/index.ts';" }, 'store may not import disk'],
    ['a re-export', { 'store/a.ts': "export * from '../disk/index.ts';" }, 'store may not import disk'],
    [
      'an import over several lines',
      { 'store/a.ts': "import {\n  a,\n  b,\n} from '../disk/index.ts';" },
      'may not import',
    ],
    ['a dynamic import', { 'store/a.ts': "await import('../disk/index.ts');" }, 'store may not import disk'],
    ['an import in a type', { 'store/a.ts': "type D = import('../disk/index.ts').D;" }, 'store may not import disk'],
    [
      'an entry point of another room',
      { 'store/a.ts': "entryPoint(import.meta.url, '../formats/vhdx/worker.js');" },
      'store may not import formats/vhdx',
    ],
    [
      'a worker of another room',
      { 'store/a.ts': "new Worker(new URL('../formats/vhdx/worker.js', import.meta.url));" },
      'store may not import formats/vhdx',
    ],
    ['a side door', { 'disk/a.ts': "import '../store/file-store.ts';" }, 'instead of its index.ts'],
    ['a side door of a nested room', { 'disk/a.ts': "import '../formats/vhdx/worker.ts';" }, 'instead of its index.ts'],
    ['a sibling without an arrow', { 'formats/vhdx/a.ts': "import '../mbr/index.ts';" }, 'may not import formats/mbr'],
    [
      'a base room upward',
      { 'errors/a.ts': "import '../async/index.ts';", 'async/index.ts': '' },
      'may not import async',
    ],
    ['an engine that knows the other', { 'engines/qemu/a.ts': "import '../hyperv/index.ts';" }, 'only compose'],
    ['an engine outside of compose', { 'facade/a.ts': "import('../engines/qemu/index.ts');" }, 'only compose'],
    ['koffi outside of native', { 'system/a.ts': "import koffi from 'koffi';" }, 'only native may'],
    ['koffi by require', { 'system/a.ts': "createRequire(import.meta.url)('koffi');" }, 'only native may'],
    ['a computed import', { 'system/a.ts': 'await import(name);' }, 'cannot be checked'],
    ['a folder that the table does not know', { 'misc/a.ts': '' }, 'lies in no room'],
    ['a file beside the rooms', { 'helpers.ts': '' }, 'lies in no room'],
    ['a way out of src', { 'disk/a.ts': "import '../../test/x.ts';" }, 'outside of src'],
    ['a file that is not there', { 'disk/a.ts': "import '../store/gone.ts';" }, 'does not exist'],
    ['a test double in the product', { 'store/a.ts': "import './testing/fault-store.ts';" }, 'only tests may import'],
    ['a test that goes upward', { 'store/a.test.ts': "import '../disk/index.ts';" }, 'store may not import disk'],
  ])('%s is found', (_what, files, message) => {
    const found = violations(files);
    expect(found.join('\n')).toContain(message);
    for (const violation of found) expect(violation).toContain(`src/${Object.keys(files)[0]}`);
  });

  it('finds cycles in the table itself, also through groups and base rooms', () => {
    const through = (from, to) => violations({}, MARKDOWN.replace(from, to));
    expect(through('host ->', 'host -> engines/*')).toEqual([
      expect.stringContaining('host -> engines/qemu -> host'),
      expect.stringContaining('host -> engines/hyperv -> host'),
    ]);
    expect(through('native ->', 'native -> store')).toEqual([expect.stringContaining('not acyclic')]);
    expect(through('errors ->', 'errors -> async')).toEqual([expect.stringContaining('errors -> async -> errors')]);
    expect(through('formats/gpt -> formats/mbr', 'formats/gpt -> formats/mbr\nformats/mbr -> formats/gpt')).toEqual([
      expect.stringContaining('formats/gpt -> formats/mbr -> formats/gpt'),
    ]);
  });
});

describe('reading', () => {
  it('refuses a table that it cannot understand', () => {
    expect(() => readTable('no block')).toThrow('no block');
    expect(() => readTable(MARKDOWN.replace('host ->', 'host'))).toThrow('cannot read');
    expect(() => readTable(MARKDOWN.replace('host ->', 'host -> nowhere'))).toThrow('nowhere');
    expect(() => readTable(MARKDOWN.replace('host ->', 'facade ->'))).toThrow('two lines');
  });

  it('knows the room of every file', () => {
    expect(roomOf(table, 'formats/vhdx/log/replay.ts')).toBe('formats/vhdx');
    expect(roomOf(table, 'protocols/lines.ts')).toBe('protocols');
    expect(roomOf(table, 'disk/deep/inside.ts')).toBe('disk');
    expect(roomOf(table, 'compose.ts')).toBe('compose');
    expect(roomOf(table, 'formats/loose.ts')).toBeUndefined();
  });

  it('does not take comments and strings for imports', () => {
    expect(importsOf("// import '../a.ts'\n/* from '../b.ts' */ const text = 'import x';")).toEqual([]);
    expect(importsOf("const url = 'https://x'; import '../a.ts';")).toEqual(['../a.ts']);
    expect(hasComputedImport("// import(x)\nimport('./a.ts'); import.meta.url")).toBe(false);
  });
});
