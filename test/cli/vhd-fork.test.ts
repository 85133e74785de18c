import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

it('makes a second branch, and says first what it would do', async () => {
  await using folder = await temporaryFolder();
  const at = (name: string): string => join(folder.path, name);
  const hv = (...words: string[]) => run(['vhd', 'fork', ...words], { double: new HostDouble() });
  await createVhd(at('base.vhdx'), { sizeBytes: 2 ** 23 });
  await createVhd(at('a.vhdx'), { parentPath: at('base.vhdx') });
  expect((await hv(at('a.vhdx'), at('b.vhdx'), '--dry-run')).stdout).toBe(
    `Would copy ${at('a.vhdx')} to ${at('b.vhdx')}.\n`,
  );
  expect(existsSync(at('b.vhdx'))).toBe(false);
  expect((await hv(at('a.vhdx'), at('b.vhdx'))).stdout).toBe(`Made ${at('b.vhdx')}, on ${at('base.vhdx')}.\n`);
  expect((await hv(at('a.vhdx'), at('b.vhdx'))).status).toBe(4);
  const whole = await hv(at('a.vhdx'), at('c.vhdx'), '--depth', '2', '--json');
  expect(JSON.parse(whole.stdout)).toMatchObject({ path: at('c.vhdx'), type: 'dynamic', parentPath: null });
});
