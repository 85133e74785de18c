import { Option } from 'commander';
import { describe, expect, it } from 'vitest';
import { LONE_COMMANDS, NOUNS } from './catalogue.ts';

const COMMANDS = [
  ...NOUNS.flatMap((noun) =>
    Object.entries(noun.verbs).map(([verb, load]) => ({ name: `${noun.name} ${verb}`, load })),
  ),
  ...LONE_COMMANDS.map(({ name, load }) => ({ name, load })),
];

describe('every command', () => {
  it.each(COMMANDS)('$name is what its definition says', async ({ name, load }) => {
    const { command } = await load();
    expect(command.name).toBe(name);
    expect(command.summary).toMatch(/^[A-Z].*[^.]$/);
    expect(command.examples.length).toBeGreaterThan(0);
    for (const example of command.examples) expect(example).toContain(name);
    for (const [key, spec] of Object.entries(command.options ?? {})) {
      expect(new Option(spec.flags).attributeName()).toBe(key);
      expect(['json', 'quiet', 'home', 'version', 'help', 'dryRun']).not.toContain(key);
      expect(spec.flags).not.toMatch(/^-[qVh]\b/);
    }
  });
});
