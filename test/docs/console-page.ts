import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MAIN } from '../cli/built.ts';

const MARK = '\u0001end\u0001';
const PAGE_TIMEOUT_MS = 240_000;

/** A command of a page, and what the page says that it prints. */
export interface ShownCommand {
  /** Line of the page, from 1. */
  readonly line: number;
  readonly command: string;
  readonly output: string;
}

/** The commands in the ```console blocks of a page: `$ ` begins one, a backslash at the end continues it. */
export function shownCommands(page: string): ShownCommand[] {
  const found: { line: number; command: string; output: string[] }[] = [];
  let inBlock = false;
  for (const [index, text] of page.split('\n').entries()) {
    if (text.startsWith('```')) inBlock = !inBlock && text === '```console';
    else if (!inBlock) continue;
    else if (text.startsWith('$ ')) found.push({ line: index + 1, command: text.slice(2), output: [] });
    else {
      const current = found.at(-1);
      if (!current) throw new Error(`line ${index + 1}: output before any command`);
      if (current.output.length === 0 && current.command.endsWith('\\')) current.command += `\n${text}`;
      else current.output.push(text);
    }
  }
  return found.map(({ output, ...rest }) => ({ ...rest, output: output.join('\n').trimEnd() }));
}

/** Runs a page's commands in one shell, on a terminal, in an empty folder, and gives back what each printed. */
export async function runCommands(commands: readonly ShownCommand[], folder: string): Promise<string[]> {
  const program = join(folder, '.bin-hv');
  await writeFile(program, `#!/bin/bash\nexec ${process.execPath} ${MAIN} "$@"\n`);
  await chmod(program, 0o755);
  const errors = join(folder, '.stderr');
  const steps = commands.map(({ command }) =>
    [
      `{ ${command}`,
      `} </dev/null 2>'${errors}'`,
      `status=$?; cat '${errors}'; printf '%s\\n' '${MARK}'; (exit $status)`,
    ].join('\n'),
  );
  const shell = ['stty cols 110 -opost', `cd '${folder}'`, `hv() { '${program}' "$@"; }`, ...steps, 'exit 0'].join(
    '\n',
  );
  const script = join(folder, '.page.sh');
  await writeFile(script, shell);
  const env = { ...process.env, NO_COLOR: '1', HV_HOME: join(folder, '.home'), HV_RUN: join(folder, '.run') };
  const { stdout } = await promisify(execFile)('script', ['-qec', `bash ${script}`, '/dev/null'], {
    env,
    timeout: PAGE_TIMEOUT_MS,
    maxBuffer: 16 << 20,
  });
  const outputs = stdout.replaceAll('\r', '').split(`${MARK}\n`);
  if (outputs.length !== commands.length + 1) throw new Error(`the shell ended early: ${outputs.at(-1)}`);
  return outputs.slice(0, -1).map((text) => text.replaceAll(folder, '/vm').trimEnd());
}

/** What differs from run to run, made the same. */
export function steady(output: string): string {
  return output
    .replace(/(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-f])/gi, '<guid>')
    .replace(/rctX(:[0-9a-f]{4,12}){5}(:[0-9a-f]{8})/gi, 'rctX:<guid>$2')
    .replace(/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b/g, '<time>')
    .replace(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z/g, '<time>')
    .replace(/[ \t]+$/gm, '');
}

/** The page with what its commands printed this time. */
export function withOutputs(page: string, commands: readonly ShownCommand[], outputs: readonly string[]): string {
  const lines = page.split('\n');
  for (const [index, { line, command, output }] of [...commands.entries()].reverse()) {
    const now = outputs[index] ?? '';
    if (steady(now) === steady(output)) continue;
    const start = line - 1 + command.split('\n').length;
    let end = start;
    while (end < lines.length && !lines[end]?.startsWith('$ ') && !lines[end]?.startsWith('```')) end++;
    lines.splice(start, end - start, ...(now === '' ? [] : now.split('\n')));
  }
  return lines.join('\n');
}

export const readPage = (path: string): Promise<string> => readFile(path, 'utf8');
