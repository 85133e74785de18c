import { spawnSync } from 'node:child_process';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { syncFolder, writeFileAtomic } from './atomic-file.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'hv-atomic-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('replaces a file, sets mode and owner as given and leaves nothing else', async () => {
  const path = join(folder, 'vm.json');
  writeFileSync(path, 'old', { mode: 0o644 });
  await writeFileAtomic(path, 'new');
  expect(readFileSync(path, 'utf8')).toBe('new');
  expect(statSync(path).mode & 0o7777).toBe(0o600);
  const umask = process.umask(0o077);
  await writeFileAtomic(path, Buffer.from([0, 1, 255]), { mode: 0o664, uid: statSync(path).uid });
  process.umask(umask);
  expect([...readFileSync(path)]).toEqual([0, 1, 255]);
  expect(statSync(path).mode & 0o7777).toBe(0o664);
  expect(readdirSync(folder)).toEqual(['vm.json']);
});

it('replaces a symbolic link instead of writing through it', async () => {
  const victim = join(folder, 'victim');
  const path = join(folder, 'link');
  writeFileSync(victim, 'untouched');
  symlinkSync(victim, path);
  await writeFileAtomic(path, 'mine');
  expect(readFileSync(victim, 'utf8')).toBe('untouched');
  expect(readFileSync(path, 'utf8')).toBe('mine');
});

it('takes the longest name that a file may have', async () => {
  const path = join(folder, 'n'.repeat(255));
  await writeFileAtomic(path, 'x');
  expect(readFileSync(path, 'utf8')).toBe('x');
});

it('leaves the old file and no temporary one when it fails', async () => {
  const path = join(folder, 'target');
  mkdirSync(path);
  writeFileSync(join(path, 'inside'), '');
  await expect(writeFileAtomic(path, 'x')).rejects.toMatchObject({ detail: { path } });
  expect(readdirSync(folder)).toEqual(['target']);
  await expect(writeFileAtomic(join(folder, 'no', 'file'), 'x')).rejects.toMatchObject({ code: 'not-found' });
  await expect(syncFolder(join(folder, 'no'))).rejects.toMatchObject({ code: 'not-found' });
});

it('says no-space on a full file system and keeps the old contents', async (context) => {
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder]);
  if (mounted.status !== 0) context.skip('only root may mount a small file system');
  try {
    const path = join(folder, 'f');
    await writeFileAtomic(path, 'old');
    await expect(writeFileAtomic(path, Buffer.alloc(2 ** 20))).rejects.toMatchObject({ code: 'no-space' });
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['f']);
  } finally {
    spawnSync('umount', [folder]);
  }
});
