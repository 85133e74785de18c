import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { vmPaths } from '../../src/state/index.ts';
import { pidsOf } from '../conformance/qemu-home.ts';
import { bareMachine, type FaultFixture, faultFixture, killAndWait } from '../faults/fixture.ts';

describe('what others left or made', () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  it('ends a QEMU that its worker started and never wrote down, before the machine gets another', async () => {
    const id = await bareMachine(fixture, 'stray');
    await fixture.host.vms.start(id);
    const [stray] = pidsOf(fixture.home, 'qemu');
    const record = join(vmPaths(fixture.paths, id).run, 'runtime.json');
    await killAndWait(fixture, 'keeper', 'worker');
    await rm(record);
    expect((await fixture.host.vms.info(id)).state).toBe('Off');
    await fixture.host.vms.start(id);
    const now = pidsOf(fixture.home, 'qemu');
    expect(now).toHaveLength(1);
    expect(now).not.toContain(stray);
    await fixture.host.vms.forceStop(id);
  });

  it('refuses a disk that stands on the disk of another machine, which would write under it', async () => {
    await bareMachine(fixture, 'owner');
    const path = join(fixture.folder, 'child.vhdx');
    const parentPath = join(fixture.folder, 'owner.vhdx');
    await createVhd(path, { type: 'differencing', parentPath });
    await expect(fixture.host.vms.create({ name: 'guest', diskPath: path })).rejects.toMatchObject({
      code: 'in-use',
      detail: { parentPath, vm: 'owner' },
    });
    expect((await fixture.host.vms.list()).map(({ name }) => name)).not.toContain('guest');
  });
});
