import { closeSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-unnamed-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
  vi.unstubAllEnvs();
  vi.resetModules();
});

async function unnamedFile(ffi: boolean): Promise<typeof import('./unnamed-file.ts')> {
  vi.resetModules();
  vi.stubEnv('HV_NO_FFI', ffi ? '' : '1');
  return import('./unnamed-file.ts');
}

it('a file has no name until it is given one', async () => {
  const { openUnnamedFile, nameUnnamedFile } = await unnamedFile(true);
  const fd = openUnnamedFile(folder, 0o640) ?? -1;
  expect(fd).toBeGreaterThan(2);
  writeSync(fd, 'whole');
  expect(readdirSync(folder)).toEqual([]);
  nameUnnamedFile(fd, join(folder, 'ünï 1'));
  closeSync(fd);
  expect(readFileSync(join(folder, 'ünï 1'), 'utf8')).toBe('whole');
  expect(statSync(join(folder, 'ünï 1')).mode & 0o137).toBe(0);
});

it('one that is never named is gone when it is closed', async () => {
  const { openUnnamedFile } = await unnamedFile(true);
  closeSync(openUnnamedFile(folder, 0o640) ?? -1);
  expect(readdirSync(folder)).toEqual([]);
});

it('a taken name stays whose it is', async () => {
  const { openUnnamedFile, nameUnnamedFile } = await unnamedFile(true);
  writeFileSync(join(folder, 'a'), 'first');
  const fd = openUnnamedFile(folder, 0o640) ?? -1;
  expect(() => nameUnnamedFile(fd, join(folder, 'a'))).toThrowError(
    expect.objectContaining({ code: 'already-exists' }),
  );
  closeSync(fd);
  expect(readFileSync(join(folder, 'a'), 'utf8')).toBe('first');
});

it('says that it cannot where there is no FFI; a folder that is not there is an error', async () => {
  expect((await unnamedFile(false)).openUnnamedFile(folder, 0o640)).toBeUndefined();
  const { openUnnamedFile } = await unnamedFile(true);
  expect(() => openUnnamedFile(join(folder, 'no'), 0o640)).toThrowError(expect.objectContaining({ code: 'ENOENT' }));
});
