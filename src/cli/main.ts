#!/usr/bin/env node
import { readFileSync } from 'node:fs';

const words = process.argv.slice(2);

// The version is asked for by scripts, often: it is answered before anything else is loaded.
if (words.length === 1 && (words[0] === '--version' || words[0] === '-V')) {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  process.stdout.write(`${(JSON.parse(manifest) as { readonly version: string }).version}\n`);
} else {
  const { main } = await import('./program.ts');
  await main(words);
}
