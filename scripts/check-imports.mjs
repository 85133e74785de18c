// Holds the table of ARCHITECTURE.md "Who may import whom" against the code in src/.
//   node scripts/check-imports.mjs
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { filesBelow } from './build.mjs';

/**
 * The table as ARCHITECTURE.md states it.
 * @returns {{ allowed: Map<string, Set<string>>, everyone: Set<string>, doors: Set<string> }}
 */
export function readTable(markdown) {
  const allowed = new Map();
  let everyone = new Set();
  for (const line of blockLines(markdown, 'imports')) {
    const [left, right, ...rest] = line.split('->').map((part) => part.trim());
    if (!left || right === undefined || rest.length > 0) throw new Error(`cannot read the line "${line}"`);
    const targets = new Set(right === '' ? [] : right.split(',').map((room) => room.trim()));
    if (left === 'everyone') everyone = targets;
    else if (allowed.has(left)) throw new Error(`the room ${left} has two lines`);
    else allowed.set(left, targets);
  }
  const doors = new Set(blockLines(markdown, 'doors').map((line) => line.split(/\s+/)[0]));
  for (const [room, targets] of [...allowed, ['everyone', everyone]]) {
    for (const target of targets) {
      if (!isDeclared(allowed, target)) throw new Error(`the line of ${room} names ${target}, which has no line`);
    }
  }
  return { allowed, everyone, doors };
}

function blockLines(markdown, name) {
  const block = new RegExp(`^\`\`\`${name}\\n([\\s\\S]*?)^\`\`\``, 'm').exec(markdown);
  if (!block) throw new Error(`ARCHITECTURE.md has no block \`\`\`${name}`);
  return block[1].split('\n').filter((line) => line.trim() !== '');
}

/** `engines/*` is declared when any room of engines/ is. */
function isDeclared(allowed, target) {
  if (allowed.has(target) || allowed.has(`${posix.dirname(target)}/*`)) return true;
  return target.endsWith('/*') && [...allowed.keys()].some((room) => room.startsWith(target.slice(0, -1)));
}

/** The room of a file given relative to src/, or undefined when no line of the table speaks of it. */
export function roomOf(table, file) {
  const parts = file.split('/');
  if (parts.length === 1) return named(table, parts[0].replace(/(\.test)?\.ts$/, ''));
  const nested = parts.length > 2 ? `${parts[0]}/${parts[1]}` : undefined;
  if (nested && (table.allowed.has(nested) || table.allowed.has(`${parts[0]}/*`))) return nested;
  return named(table, parts[0]);
}

function named(table, room) {
  return table.allowed.has(room) ? room : undefined;
}

function mayImport(table, from, to) {
  const group = (room) => `${posix.dirname(room)}/*`;
  const own = [table.allowed.get(from), from.includes('/') ? table.allowed.get(group(from)) : undefined];
  const base = table.everyone.has(from) ? [] : [table.everyone];
  return [...own, ...base].some((targets) => targets?.has(to) || (to.includes('/') && targets?.has(group(to))));
}

/** Everything that a source file imports, by any means that names a file or package. */
export function importsOf(source) {
  const code = withoutComments(source);
  const found = [];
  const patterns = [
    /\b(?:import|export)\b[^'"`;]*?\bfrom\s*(['"])([^'"]+)\1/g,
    /\bimport\s*(['"])([^'"]+)\1/g,
    /\bimport\s*\(\s*(['"])([^'"]+)\1/g,
    /\brequire(?:\.resolve)?\s*\(\s*(['"])([^'"]+)\1/g,
    /\bcreateRequire\s*\([^)]*\)\s*\(\s*(['"])([^'"]+)\1/g,
    /\bimport\.meta\.resolve\s*\(\s*(['"])([^'"]+)\1/g,
    /\bnew\s+URL\s*\(\s*(['"])(\.[^'"]+\.[jt]s)\1\s*,\s*import\.meta\.url/g,
    /\bentryPoint\s*\(\s*import\.meta\.url\s*,\s*(['"])([^'"]+)\1/g,
  ];
  for (const pattern of patterns) for (const match of code.matchAll(pattern)) found.push(match[2]);
  return found;
}

/** A dynamic import of something computed cannot be checked. */
export function hasComputedImport(source) {
  return /\bimport\s*\(\s*(?!['"])/.test(withoutComments(source));
}

/** Comments become spaces; what stands in strings and templates stays. */
export function withoutComments(source) {
  const pieces = /'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`|\/\/[^\n]*|\/\*[\s\S]*?\*\//g;
  return source.replace(pieces, (piece) => (/^\/[/*]/.test(piece) ? ' ' : piece));
}

/**
 * Every way in which the code breaks the table, one sentence each.
 * @param {ReturnType<typeof readTable>} table
 * @param {Map<string, string>} sources file relative to src/ -> text
 */
export function findViolations(table, sources) {
  const violations = findCycles(table).map((cycle) => `the table is not acyclic: ${cycle.join(' -> ')}`);
  for (const [file, source] of sources) {
    const room = roomOf(table, file);
    if (room === undefined) {
      violations.push(`src/${file} lies in no room of the table`);
      continue;
    }
    if (hasComputedImport(source) && !file.endsWith('.test.ts'))
      violations.push(`src/${file} imports something computed, which cannot be checked`);
    for (const specifier of importsOf(source)) violations.push(...judge(table, sources, file, room, specifier));
  }
  return violations;
}

function judge(table, sources, file, room, specifier) {
  if (!specifier.startsWith('.')) {
    const isKoffi = specifier === 'koffi' || specifier.startsWith('koffi/') || specifier.startsWith('@koromix/');
    return isKoffi && room !== 'native' ? [`src/${file} imports ${specifier}: only native may`] : [];
  }
  // Built names (./worker.js) stand for their sources.
  const target = posix.normalize(posix.join(posix.dirname(file), specifier)).replace(/\.js$/, '.ts');
  if (target.startsWith('..'))
    return file.endsWith('.test.ts') ? [] : [`src/${file} imports ${specifier} outside of src`];
  const targetRoom = roomOf(table, target);
  if (targetRoom === undefined) return [`src/${file} imports ${specifier}, which lies in no room of the table`];
  if (target.includes('/testing/') && !file.endsWith('.test.ts') && !file.includes('/testing/'))
    return [`src/${file} imports ${specifier}: only tests may import from testing`];
  if (targetRoom === room) return [];
  if (!sources.has(target) && !file.endsWith('.test.ts'))
    return [`src/${file} imports ${specifier}, which does not exist`];
  if (targetRoom.startsWith('engines/') && room !== 'compose')
    return [`src/${file} imports ${specifier}: only compose may import engines`];
  const found = [];
  if (!mayImport(table, room, targetRoom))
    found.push(`src/${file}: ${room} may not import ${targetRoom} (${specifier})`);
  const isShared = room.startsWith(`${targetRoom}/`);
  if (!isShared && !isDoor(table, target, targetRoom))
    found.push(`src/${file} enters ${targetRoom} through ${specifier} instead of its index.ts`);
  return found;
}

function isDoor(table, target, room) {
  return target === `${room}/index.ts` || target === `${room}.ts` || table.doors.has(target);
}

/** Cycles among the lines of the table. */
function findCycles({ allowed, everyone }) {
  const edges = new Map([...allowed].map(([room, targets]) => [room, [...targets]]));
  for (const room of allowed.keys()) if (!everyone.has(room)) edges.get(room).push(...everyone);
  const follow = (target) => {
    if (target.endsWith('/*')) return [...allowed.keys()].filter((room) => room.startsWith(target.slice(0, -1)));
    return [allowed.has(target) ? target : `${posix.dirname(target)}/*`];
  };
  const done = new Set();
  const cycles = [];
  const visit = (room, path) => {
    if (path.includes(room)) {
      cycles.push([...path.slice(path.indexOf(room)), room]);
      return;
    }
    if (done.has(room)) return;
    for (const target of new Set((edges.get(room) ?? []).flatMap(follow))) visit(target, [...path, room]);
    done.add(room);
  };
  for (const room of allowed.keys()) visit(room, []);
  return cycles;
}

export function checkImports(root) {
  const architecture = join(root, 'ARCHITECTURE.md');
  if (!existsSync(architecture)) return ['ARCHITECTURE.md is missing'];
  const table = readTable(readFileSync(architecture, 'utf8'));
  const source = join(root, 'src');
  const files = filesBelow(source).filter((file) => file.endsWith('.ts') && !file.includes('/assets/'));
  return findViolations(table, new Map(files.map((file) => [file, readFileSync(join(source, file), 'utf8')])));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const violations = checkImports(dirname(dirname(fileURLToPath(import.meta.url))));
  for (const violation of violations) console.error(violation);
  if (violations.length > 0) process.exitCode = 1;
}
