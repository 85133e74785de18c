import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

it('draws the chain above a disk, what stands on it, and who uses it', async () => {
  await using folder = await temporaryFolder();
  const at = (name: string): string => join(folder.path, name);
  const double = new HostDouble();
  await createVhd(at('base.vhdx'), { sizeBytes: 2 ** 30 });
  for (const [child, parent] of ['a base', 'b a', 'c b', 'd b', 'e c'].map((pair) => pair.split(' '))) {
    await createVhd(at(`${child}.vhdx`), { parentPath: at(`${parent}.vhdx`) });
  }
  const { id } = double.add({ name: 'web1' });
  double.diskUsers.set(at('b.vhdx'), [id]);
  const mount = { way: 'fuse', state: 'attached', readOnly: true, sizeBytes: 2 ** 30, devicePath: null } as const;
  const where = { filePath: '/run/disk.raw', partitions: [], processId: 1, startedTime: '2025-01-02T03:04:05.000Z' };
  double.mounts = ['b.vhdx', 'other.vhdx'].map((name) => ({ path: at(name), ...mount, ...where }));
  const { stdout } = await run(['vhd', 'dependencies', at('b.vhdx')], { double });
  expect(stdout.replaceAll(`${folder.path}/`, '')).toBe(
    [
      'base.vhdx  vhdx, dynamic, 1 GiB',
      '└─ a.vhdx  vhdx, differencing, 1 GiB',
      '   └─ b.vhdx  vhdx, differencing, 1 GiB  <- this disk',
      '      ├─ c.vhdx',
      '      │  └─ e.vhdx',
      '      └─ d.vhdx',
      'Used by the machine "web1" as a parent',
      'Mounted as /run/disk.raw',
      '',
    ].join('\n'),
  );
  rmSync(at('base.vhdx'));
  const cut = await run(['vhd', 'dependencies', at('a.vhdx')], { double });
  expect(cut.stdout.replaceAll(`${folder.path}/`, '').split('\n').slice(0, 2)).toEqual([
    'base.vhdx  (missing)',
    '└─ a.vhdx  vhdx, differencing, 1 GiB  <- this disk',
  ]);
  const json = await run(['vhd', 'dependencies', at('b.vhdx'), '--json'], { double });
  expect(JSON.parse(json.stdout)).toMatchObject({
    chain: [{ path: at('b.vhdx') }, { path: at('a.vhdx'), parentState: 'missing' }],
    childrenComplete: true,
    users: [{ name: 'web1', as: 'parent' }],
    mounts: [{ path: at('b.vhdx'), filePath: '/run/disk.raw' }],
  });
});
