import { chown, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { createVhd } from '../../src/disk/index.ts';
import { vmPaths } from '../../src/state/index.ts';
import { isAlive, isRoot, ownIdentity } from '../../src/system/index.ts';
import { pidsOf } from '../conformance/qemu-home.ts';
import { bareMachine, type FaultFixture, faultFixture, killAndWait, MIB, readDefinition } from '../faults/fixture.ts';

/** What a QEMU that fell to its guest can do with its user's rights: change the machine's own folders, end its worker. */
describe.skipIf(!isRoot())("a machine's user that turned against root (needs root)", () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  const ownerOf = async (id: string): Promise<number> => (await readDefinition(fixture, id)).user?.uid ?? 0;

  it('gets no other disk by a link in the place of its layer, and keeps its machine stoppable', async () => {
    const id = await bareMachine(fixture, 'linked');
    const foreign = join(fixture.folder, 'foreign.vhdx');
    await createVhd(foreign, { sizeBytes: 64 * MIB });
    const before = await readFile(foreign);
    await fixture.host.vms.start(id);
    await fixture.host.snapshots.create(id, 'so that it has a layer');
    const layer = (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';
    await rename(layer, `${layer}.away`);
    await symlink(foreign, layer);
    await killAndWait(fixture, 'worker');
    await fixture.host.vms.forceStop(id);
    expect((await fixture.host.vms.info(id)).state).toBe('Off');
    await expect(fixture.host.vms.start(id)).rejects.toMatchObject({ code: 'corrupt', detail: { leadsTo: foreign } });
    const log = await readFile(vmPaths(fixture.paths, id).workerLog, 'utf8');
    expect(log).toContain(`leads to ${foreign}`);
    expect((await readFile(foreign)).equals(before)).toBe(true);
    await fixture.host.vms.delete(id, { withDisks: true });
  });

  it('claims no process of another user, and so neither protects nor ends it', async () => {
    const id = await bareMachine(fixture, 'claiming');
    await fixture.host.vms.start(id);
    const file = join(vmPaths(fixture.paths, id).run, 'runtime.json');
    const record = JSON.parse(await readFile(file, 'utf8'));
    await killAndWait(fixture, 'keeper', 'worker', 'qemu');
    const victim = ownIdentity();
    await writeFile(file, JSON.stringify({ ...record, qemu: victim, worker: victim }));
    await chown(file, await ownerOf(id), await ownerOf(id));
    expect((await fixture.host.vms.info(id)).state).toBe('Off');
    await fixture.host.vms.forceStop(id);
    expect(isAlive(victim)).toBe(true);
    await fixture.host.vms.start(id);
    expect((await fixture.host.vms.info(id)).state).toBe('Running');
    await fixture.host.vms.forceStop(id);
    await fixture.host.vms.delete(id, { withDisks: true });
  });

  it('turns no order for itself into one for its neighbour', async () => {
    const id = await bareMachine(fixture, 'pointing');
    const neighbour = await bareMachine(fixture, 'innocent');
    await fixture.host.vms.start(id);
    await fixture.host.vms.start(neighbour);
    const socket = join(vmPaths(fixture.paths, id).run, 'control.sock');
    await rm(socket);
    await symlink(join(vmPaths(fixture.paths, neighbour).run, 'control.sock'), socket);
    await fixture.host.vms.forceStop(id);
    expect((await fixture.host.vms.info(neighbour)).state).toBe('Running');
    await poll(() => (pidsOf(fixture.home, 'qemu').length === 1 ? true : undefined), {
      timeoutMs: 20_000,
      doing: 'waiting for the one machine to go off',
    });
    await fixture.host.vms.forceStop(neighbour);
    expect((await fixture.host.vms.info(id)).state).toBe('Off');
  });
});
