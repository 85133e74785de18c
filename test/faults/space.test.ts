import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { isRoot, runProgram } from '../../src/system/index.ts';
import { GuestConsole } from '../conformance/guest/guest-console.ts';
import { boot, describeMachinesOf, template } from '../conformance/guest/machine.ts';
import { type FaultFixture, faultFixture, MIB } from './fixture.ts';

// Only root may mount the small file system that fills up.
describe.skipIf(!isRoot())('a host disk that fills up under a guest (needs root: it mounts a tmpfs)', () => {
  let fixture: FaultFixture;
  let small = '';
  beforeAll(async () => {
    fixture = await faultFixture();
    small = join(fixture.folder, 'small');
    await mkdir(small);
    await mount('size=48m');
  });
  afterAll(async () => {
    try {
      for (const vm of await fixture.host.vms.list()) await fixture.host.vms.forceStop(vm.id);
    } finally {
      await runProgram('umount', ['--lazy', small], { deadlineMs: 10_000 });
      await fixture.close();
    }
  });

  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.error(task.name, await describeMachinesOf(fixture));
  });

  const mount = async (options: string): Promise<void> => {
    await runProgram('mount', ['-t', 'tmpfs', '-o', options, 'hv-test', small], { deadlineMs: 10_000 });
  };

  it('pauses the machine with the reason, and goes on without an error in the guest once there is space', async () => {
    const { host } = fixture;
    const parentPath = await template(fixture);
    const diskPath = join(small, 'full.vhdx');
    await host.disks.create(diskPath, { type: 'differencing', parentPath });
    const { id } = await host.vms.create({
      name: 'full',
      diskPath,
      allowedParents: [parentPath],
      memoryBytes: 256 * MIB,
      processorCount: 1,
    });
    await boot(fixture, id);
    await using console = await GuestConsole.open(host, id);
    await console.run('dmesg -c >/dev/null; head -c 1000000 /dev/urandom >/run/piece');
    const many = 'i=0; while [ $i -lt 100 ]; do cat /run/piece; i=$((i+1)); done';
    await console.run(`many() { ${many}; }`);
    console.type('many >/data/big && sync && echo written whole');
    const paused = await poll(
      async () => {
        const info = await host.vms.info(id);
        return info.state === 'Paused' ? info : undefined;
      },
      { timeoutMs: 30_000, doing: 'waiting for the machine to pause' },
    );
    expect(paused.stateReason).toMatch(/space/i);
    await mount('remount,size=256m');
    await host.vms.resume(id);
    expect((await host.vms.info(id)).stateReason).toBeNull();
    await console.waitFor(/\nwritten whole\n/, 60_000);
    const expected = await console.run('many | md5sum', 60_000);
    expect(await console.run('echo 3 >/proc/sys/vm/drop_caches; md5sum </data/big', 60_000)).toBe(expected);
    expect(await console.run('dmesg | grep -vE "link becomes ready|drop_caches"')).toBe('');
    expect((await host.vms.info(id)).state).toBe('Running');
    await host.vms.stop(id);
  });
});
