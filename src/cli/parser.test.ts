import { describe, expect, it } from 'vitest';
import { parseCommandLine } from './parser.ts';

const textOf = async (words: readonly string[]): Promise<string> => {
  const parsed = await parseCommandLine(words);
  return parsed.kind === 'help' ? parsed.text : '';
};

describe('a command of three words', () => {
  it('is found behind its group, its arguments and options after it', async () => {
    const parsed = await parseCommandLine(['vhd', 'metadata', 'list', 'disk.vhdx', '--json']);
    if (parsed.kind !== 'run') throw new Error(parsed.kind);
    expect(parsed.definition.name).toBe('vhd metadata list');
    expect(parsed.args).toEqual({ file: expect.stringMatching(/disk\.vhdx$/) });
    expect(parsed.global.json).toBe(true);
  });

  it('is listed in the help of its noun, of its group, and has its own', async () => {
    expect(await textOf(['vhd', '--help'])).toMatch(/^ {2}metadata\b.*\S/m);
    expect(await textOf(['vhd', 'metadata', '--help'])).toMatch(/^ {2}list\b.*Show a VHDX/m);
    expect(await textOf(['vhd', 'metadata', 'list', '--help'])).toContain('$ hv vhd metadata list disk.vhdx');
    expect(await textOf(['help', 'vhd', 'metadata', 'list'])).toContain('$ hv vhd metadata list disk.vhdx');
  });

  it('is wrong usage when its verb is missing or unknown', async () => {
    expect(await parseCommandLine(['vhd', 'metadata'])).toMatchObject({ kind: 'help', wrongUsage: true });
    await expect(parseCommandLine(['vhd', 'metadata', '--json'])).rejects.toMatchObject({
      code: 'invalid-argument',
      message: '`hv vhd metadata` needs a verb',
      hint: expect.stringContaining('list'),
    });
    await expect(parseCommandLine(['vhd', '--json'])).rejects.toMatchObject({
      hint: expect.stringContaining('metadata'),
    });
    await expect(parseCommandLine(['vhd', 'metadata', 'lst'])).rejects.toMatchObject({
      code: 'invalid-argument',
      hint: 'Did you mean list?',
    });
    await expect(parseCommandLine(['vhd', 'metadata', 'constructor'])).rejects.toMatchObject({
      code: 'invalid-argument',
    });
  });
});
