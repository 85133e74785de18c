import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { vmPaths } from '../../src/state/index.ts';
import { boot, linuxMachine } from '../conformance/guest/machine.ts';
import { pidsOf, untilGone } from '../conformance/qemu-home.ts';
import {
  bareMachine,
  dataFiles,
  expectConsistent,
  type FaultFixture,
  faultFixture,
  killAndWait,
  readDisk,
  settled,
  writeDisk,
} from './fixture.ts';
import { expectWritten, Writer } from './writer.ts';

const NEW_WORKER_MS = 2000;

describe('killed processes under a guest that writes', () => {
  let fixture: FaultFixture;
  let id = '';
  let next = 1;
  const written: { readonly first: number; readonly last: number }[] = [];
  beforeAll(async () => {
    fixture = await faultFixture();
    id = await linuxMachine(fixture, 'writer', { generation: 2 });
    await boot(fixture, id);
  });
  afterAll(() => fixture.close());

  const { stdout } = process;

  it('gets a new worker by itself, again and again, and the guest sees nothing', async () => {
    await using writer = await Writer.start(fixture, id, next);
    for (let round = 1; round <= 4; round++) {
      const { processes } = await fixture.host.vms.info(id);
      const old = processes?.worker ?? 0;
      const began = performance.now();
      process.kill(old, 'SIGKILL');
      const newWorker = await poll(() => pidsOf(fixture.home, 'worker').find((pid) => pid !== old), {
        timeoutMs: 10_000,
        intervalMs: 5,
        doing: 'waiting for a new worker',
      });
      const runtimeFile = join(vmPaths(fixture.paths, id).run, 'runtime.json');
      await poll(async () => (await readFile(runtimeFile, 'utf8')).includes(`"pid":${newWorker},`) || undefined, {
        timeoutMs: 10_000,
        intervalMs: 5,
        doing: 'waiting for the new worker to take over',
      });
      const takenOverMs = performance.now() - began;
      await writer.goesOn(20_000);
      const writesAgainMs = performance.now() - began;
      stdout.write(
        `round ${round}: a new worker after ${Math.round(takenOverMs)} ms, the guest writes on after ${Math.round(writesAgainMs)} ms\n`,
      );
      expect(takenOverMs).toBeLessThan(NEW_WORKER_MS);
      expect((await fixture.host.vms.info(id)).processes?.engine).toBe(processes?.engine);
    }
    written.push(await writer.stop());
    next = writer.acknowledged + 1000;
  });

  it('is brought back by the next command when keeper and worker are killed together', async () => {
    await using writer = await Writer.start(fixture, id, next);
    const { processes } = await fixture.host.vms.info(id);
    await killAndWait(fixture, 'keeper', 'worker');
    expect((await fixture.host.vms.info(id)).state).toBe('Running');
    const other = await fixture.reopen();
    try {
      expect(await other.vms.waitFor(id, 'ready', { timeoutMs: 20_000 })).toBe(true);
      expect((await other.vms.info(id)).processes).toMatchObject({ engine: processes?.engine });
    } finally {
      await other.close();
    }
    expect(pidsOf(fixture.home, 'keeper')).toHaveLength(1);
    expect(pidsOf(fixture.home, 'worker')).toHaveLength(1);
    await writer.goesOn(20_000);
    written.push(await writer.stop());
    next = writer.acknowledged + 1000;
  });

  it('is Off and says why when QEMU is killed; every acknowledged write of all rounds is there', async () => {
    const first = next;
    await using writer = await Writer.start(fixture, id, first);
    await writer.goesOn(20_000);
    await killAndWait(fixture, 'qemu');
    const info = await settled(fixture, id);
    expect(info).toMatchObject({ state: 'Off', processes: null });
    expect(info.stateReason).toMatch(/QEMU ended unexpectedly/); // its worker is not the one that started it
    await poll(() => (pidsOf(fixture.home, 'worker').length === 0 ? true : undefined), {
      timeoutMs: 10_000,
      doing: 'waiting for the worker to leave',
    });
    written.push({ first, last: writer.acknowledged });
    expect(written).toHaveLength(3);
    for (const range of written) await expectWritten(fixture, id, writer.startOffset, range.first, range.last);
    await expectConsistent(fixture);
  });
});

describe('killed processes of bare machines', () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  it('is Off with a reason when everything was killed at once, and starts again', async () => {
    const id = await bareMachine(fixture, 'all three');
    await writeDisk(fixture, id, 1, 'a');
    await fixture.host.vms.start(id);
    await killAndWait(fixture, 'keeper', 'worker', 'qemu');
    const info = await fixture.host.vms.info(id);
    expect(info).toMatchObject({ state: 'Off', processes: null });
    expect(info.stateReason).toMatch(/ended/);
    expect(await readDisk(fixture, id, 1)).toEqual(['a']);
    await fixture.host.vms.start(id);
    expect((await fixture.host.vms.info(id)).state).toBe('Running');
    await fixture.host.vms.forceStop(id);
    await expectConsistent(fixture);
  });

  it('is Off and names the signal when QEMU is killed', async () => {
    const id = await bareMachine(fixture, 'qemu killed');
    await fixture.host.vms.start(id);
    await killAndWait(fixture, 'qemu');
    const info = await settled(fixture, id);
    expect(info).toMatchObject({ state: 'Off', processes: null });
    expect(info.stateReason).toMatch(/SIGKILL/);
    await expectConsistent(fixture);
  });

  it('restarts nothing for a QEMU that is gone', async () => {
    const id = await bareMachine(fixture, 'gone');
    await fixture.host.vms.start(id);
    await killAndWait(fixture, 'worker', 'qemu');
    expect(await settled(fixture, id)).toMatchObject({ state: 'Off' });
    await untilGone(fixture.home);
  });

  it('has Off and Saved machines after a restart of the host, never ghosts', async () => {
    const { vms } = fixture.host;
    const ran = await bareMachine(fixture, 'ran');
    const paused = await bareMachine(fixture, 'was paused');
    const saved = await bareMachine(fixture, 'was saved');
    for (const id of [ran, paused, saved]) await vms.start(id);
    await vms.pause(paused);
    await vms.save(saved);
    await killAndWait(fixture, 'keeper', 'worker', 'qemu');
    // Another boot: its records name processes whose numbers may be anybody's now.
    for (const id of [ran, paused]) {
      const file = join(vmPaths(fixture.paths, id).run, 'runtime.json');
      const record = JSON.parse(await readFile(file, 'utf8'));
      const self = { pid: process.pid, startTicks: record.qemu.startTicks };
      await writeFile(file, JSON.stringify({ ...record, bootId: 'another boot', qemu: self, worker: self }));
    }
    const host = await fixture.reopen();
    expect(await host.vms.info(ran)).toMatchObject({
      state: 'Off',
      processes: null,
      stateReason: expect.stringMatching(/restarted/),
    });
    expect((await host.vms.info(paused)).state).toBe('Off');
    expect((await host.vms.info(saved)).state).toBe('Saved');
    await host.vms.start(ran);
    await host.vms.start(saved);
    expect((await host.vms.info(ran)).state).toBe('Running');
    expect((await host.vms.info(saved)).state).toBe('Running');
    await host.close();
    await expectConsistent(fixture);
    for (const id of [ran, saved]) await vms.forceStop(id);
  });

  it('needs nothing of the run folder, which a restart of the host empties', async () => {
    const { vms } = fixture.host;
    const id = await bareMachine(fixture, 'no run folder');
    const saved = await bareMachine(fixture, 'saved, no run folder');
    await vms.start(id);
    await vms.start(saved);
    await vms.save(saved);
    await killAndWait(fixture, 'keeper', 'worker', 'qemu');
    await rm(fixture.paths.run, { recursive: true });
    const host = await fixture.reopen();
    expect(await host.vms.info(id)).toMatchObject({ state: 'Off', processes: null });
    for (const each of [id, saved]) {
      await host.vms.start(each);
      expect((await host.vms.info(each)).state).toBe('Running');
    }
    await host.vms.forceStop(id);
    await host.vms.forceStop(saved);
    await host.close();
    expect(await dataFiles(fixture, saved)).toMatchObject({ saved: [] });
  });
});
