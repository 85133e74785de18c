import { describe, expect, it } from 'vitest';
import { type CpioEntry, encodeCpio } from './index.ts';

interface Read {
  readonly name: string;
  readonly mode: number;
  readonly data: string;
  readonly device: readonly [number, number];
}

/** The format's rules once more, from the reader's side. */
function readNewc(archive: Uint8Array): Read[] {
  const text = Buffer.from(archive).toString('latin1');
  const found: Read[] = [];
  for (let at = 0; ; ) {
    expect(text.slice(at, at + 6)).toBe('070701');
    const field = (index: number): number => Number.parseInt(text.slice(at + 6 + index * 8, at + 14 + index * 8), 16);
    const [mode, size, nameSize] = [field(1), field(6), field(11)];
    const name = text.slice(at + 110, at + 110 + nameSize - 1);
    expect(text[at + 110 + nameSize - 1]).toBe('\0');
    if (name === 'TRAILER!!!') return found;
    const dataAt = Math.ceil((at + 110 + nameSize) / 4) * 4;
    found.push({ name, mode, data: text.slice(dataAt, dataAt + size), device: [field(9), field(10)] });
    at = Math.ceil((dataAt + size) / 4) * 4;
  }
}

describe('a newc archive', () => {
  it('holds files, folders, links and devices, each padded to four bytes', () => {
    const entries: CpioEntry[] = [
      { kind: 'folder', path: 'dev', mode: 0o755 },
      { kind: 'characterDevice', path: 'dev/console', mode: 0o600, major: 5, minor: 1 },
      { kind: 'file', path: 'a', mode: 0o644, data: Buffer.from('x') },
      { kind: 'file', path: 'bb', mode: 0o755, data: Buffer.from('12345') },
      { kind: 'file', path: 'empty', mode: 0o600, data: new Uint8Array() },
      { kind: 'link', path: 'init', target: 'sbin/init' },
    ];
    expect(readNewc(encodeCpio(entries))).toEqual([
      { name: 'dev', mode: 0o040755, data: '', device: [0, 0] },
      { name: 'dev/console', mode: 0o020600, data: '', device: [5, 1] },
      { name: 'a', mode: 0o100644, data: 'x', device: [0, 0] },
      { name: 'bb', mode: 0o100755, data: '12345', device: [0, 0] },
      { name: 'empty', mode: 0o100600, data: '', device: [0, 0] },
      { name: 'init', mode: 0o120777, data: 'sbin/init', device: [0, 0] },
    ]);
  });

  it('refuses paths that are empty, absolute, climb, or come twice', () => {
    for (const path of ['', '/a', 'a//b', 'a/../b', './a', 'a/']) {
      expect(() => encodeCpio([{ kind: 'folder', path, mode: 0o755 }])).toThrow(/cannot be a path/);
    }
    const twice: CpioEntry = { kind: 'folder', path: 'a', mode: 0o755 };
    expect(() => encodeCpio([twice, twice])).toThrow(/twice/);
  });
});
