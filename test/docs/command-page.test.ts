import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { allCommands } from '../../src/cli/catalogue.ts';

/** The commands of a table row's first cell: `vm pause`, `vm resume`; a choice with bars stands for each. */
function named(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].flatMap(([, text = '']) => {
    const words: string[][] = [];
    for (const word of text.replaceAll('\\|', '|').split(' ')) {
      if (!/^[a-z][a-z|-]*$/.test(word)) break;
      words.push(word.split('|'));
    }
    return words.reduce<string[]>(
      (found, choices) => found.flatMap((head) => choices.map((word) => `${head} ${word}`.trim())),
      [''],
    );
  });
}

it('the page of the command line has a row for every command, and for none that is not there', async () => {
  const page = await readFile(new URL('../../docs/guide/cli.md', import.meta.url), 'utf8');
  const table = page.slice(page.indexOf('## Commands'), page.indexOf('## What every command has'));
  const rows = table.split('\n').filter((line) => line.startsWith('| `'));
  const shown = new Set(rows.flatMap((row) => named(row.slice(2).split(/ \| /)[0] ?? '')));
  expect([...shown].sort()).toEqual(
    allCommands()
      .map(({ name }) => name)
      .sort(),
  );
});
