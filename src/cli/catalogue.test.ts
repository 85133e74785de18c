import { Option } from 'commander';
import { describe, expect, it } from 'vitest';
import { allCommands, NOUNS } from './catalogue.ts';

describe('every command', () => {
  it.each(allCommands())('$name is what its definition says', async ({ name, load }) => {
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

  it('has words of its own: none is both a verb and the word before verbs', () => {
    for (const { verbs, groups = {} } of NOUNS) {
      for (const [word, group] of Object.entries(groups)) {
        expect(Object.keys(verbs)).not.toContain(word);
        expect(Object.keys(group.verbs)).not.toHaveLength(0);
      }
    }
  });
});
