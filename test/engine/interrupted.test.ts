import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openVhd } from '../../src/disk/index.ts';
import { VmStore } from '../../src/state/index.ts';
import { bareMachine, type FaultFixture, faultFixture, MIB, readDefinition, writeDisk } from '../faults/fixture.ts';

/** Commands that died between two of their writes: what they left is made here as they leave it. */
describe('a deletion of a snapshot that died before its first merge', () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  const interrupted = async (name: string): Promise<string> => {
    const id = await bareMachine(fixture, name);
    await writeDisk(fixture, id, 1, 'a');
    await fixture.host.snapshots.create(id, 'one');
    await writeDisk(fixture, id, 2, 'b');
    const definition = await readDefinition(fixture, id);
    await new VmStore(fixture.paths).save({ ...definition, snapshots: [], currentSnapshotId: null });
    return id;
  };
  const contents = async (name: string): Promise<string> => {
    await using disk = await openVhd(join(fixture.folder, `${name}.vhdx`), { readOnly: true });
    const data = Buffer.alloc(2);
    disk.read(MIB, data, 0, 1);
    disk.read(2 * MIB, data, 1, 1);
    return data.toString('latin1');
  };

  it('leaves a machine whose deletion keeps the present state of its disk', async () => {
    const id = await interrupted('deleted');
    await fixture.host.vms.delete(id);
    expect(await contents('deleted')).toBe('ab');
  });

  it('is finished by the next start', async () => {
    const id = await interrupted('started');
    await fixture.host.vms.start(id);
    await fixture.host.vms.forceStop(id);
    expect((await fixture.host.vms.info(id)).hardDiskDrives[0]?.path).toBe(join(fixture.folder, 'started.vhdx'));
    expect(await contents('started')).toBe('ab');
  });
});
