import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { sleep } from '../../src/async/index.ts';
import { EngineContext } from '../../src/engines/qemu/context.ts';
import { order } from '../../src/engines/qemu/worker/client.ts';
import { isHvError } from '../../src/errors/index.ts';
import type { VmDefinition } from '../../src/state/index.ts';
import { bareMachine, type FaultFixture, faultFixture, killAndWait, settled } from '../faults/fixture.ts';

/** Deaths between "prepared" and "commit", the one moment in which the definition and the machine say different things. */
describe('an order of two steps', () => {
  let fixture: FaultFixture;
  let context: EngineContext;
  let id = '';
  beforeAll(async () => {
    fixture = await faultFixture();
    context = new EngineContext(fixture.paths);
  });
  afterAll(() => fixture.close());
  afterEach(async () => {
    await fixture.host.vms.forceStop(id);
  });

  const running = async (name: string): Promise<VmDefinition> => {
    id = await bareMachine(fixture, name);
    await fixture.host.vms.start(id);
    return context.store.load(id);
  };
  const saved = (definition: VmDefinition, file: string): VmDefinition => ({
    ...definition,
    savedState: { file, savedTime: new Date().toISOString(), paused: false },
  });

  it('is not undone by a new worker while its command is about to write the definition', async () => {
    const definition = await running('saved');
    const file = 'saved/x.state';
    const decision = await context.store.lockDecision(id);
    await using worker = await context.worker(id);
    await worker.call(order({ op: 'save', file }));
    await killAndWait(fixture, 'worker');
    await sleep(1500); // long enough for a successor that does not wait
    expect((await fixture.host.vms.info(id)).state).toBe('Saving');
    await context.store.save(saved(definition, file));
    decision.release();
    expect((await settled(fixture, id)).state).toBe('Saved');
    await fixture.host.vms.start(id);
    expect((await fixture.host.vms.info(id)).state).toBe('Running');
  });

  it('that was not decided is undone once its command is gone, and the machine runs on', async () => {
    await running('undecided');
    const decision = await context.store.lockDecision(id);
    await using worker = await context.worker(id);
    await worker.call(order({ op: 'save', file: 'saved/x.state' }));
    await killAndWait(fixture, 'worker');
    decision.release();
    expect((await settled(fixture, id)).state).toBe('Running');
    await fixture.host.vms.save(id); // also over the socket that the dead worker listened on
    expect((await fixture.host.vms.info(id)).state).toBe('Saved');
  });

  it.each(['force-stop', 'the death of QEMU'])(
    'keeps the layers that the definition names by then: %s',
    async (end) => {
      const definition = await running(`layers ${end.length}`);
      const [drive] = definition.specification.hardDiskDrives;
      if (!drive) throw new Error('the machine has a disk');
      const layer = 'disks/new-layer.avhdx';
      const path = join(definition.dataPath, layer);
      await using worker = await context.worker(id);
      const children = [{ driveId: drive.id, file: layer }];
      await worker.call(order({ op: 'snapshot', memoryFile: 'snapshots/x.state', nvramFile: null, children }));
      await context.store.save({
        ...definition,
        specification: { ...definition.specification, hardDiskDrives: [{ ...drive, path }] },
      });
      if (end === 'force-stop') await fixture.host.vms.forceStop(id);
      else await killAndWait(fixture, 'qemu');
      expect((await settled(fixture, id)).state).toBe('Off');
      expect(existsSync(path)).toBe(true);
      await expect(worker.call({ op: 'commit' })).rejects.toSatisfy((error) => isHvError(error, 'process-failed'));
      await fixture.host.vms.start(id);
      expect((await fixture.host.vms.info(id)).state).toBe('Running');
    },
  );

  it('finishes a restore whose saved state is spent already', async () => {
    const { savedState, ...rest } = await (async () => {
      await running('restored');
      await fixture.host.vms.save(id);
      return context.store.load(id);
    })();
    const decision = await context.store.lockDecision(id);
    // What a start does, up to its decision.
    await using worker = await context.startWorker(id);
    await worker.call(order({ op: 'start', restoreFrom: savedState?.file ?? null, paused: false }));
    await context.store.save({ ...rest, savedState: null });
    await killAndWait(fixture, 'worker');
    decision.release();
    expect((await settled(fixture, id)).state).toBe('Running');
  });
});
