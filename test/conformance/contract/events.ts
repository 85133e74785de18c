import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostEvent } from '../../../src/model/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';

/** What happened, and who did it. */
export function describeEvents(engine: string, make: MakeFixture): void {
  describe(`${engine}: events and operations`, () => {
    let fixture: HostFixture;
    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(() => fixture.close());

    it('follows what other processes do, from the moment on', async () => {
      const { vms } = fixture.host;
      await vms.create({ name: 'before' });
      const control = new AbortController();
      const followed: HostEvent[] = [];
      const following = (async () => {
        for await (const event of fixture.host.events.follow({ signal: control.signal })) {
          followed.push(event);
          if (event.kind === 'operation' && event.operation === 'vms.rename' && event.phase === 'end') control.abort();
        }
      })();
      await new Promise((resolve) => setTimeout(resolve, 200));
      const other = await fixture.reopen();
      const { id } = await other.vms.create({ name: 'watched' });
      await other.vms.rename(id, 'seen');
      await other.close();
      await following;
      const steps = followed.map((event) => (event.kind === 'operation' ? `${event.operation} ${event.phase}` : ''));
      expect(steps).toEqual(['vms.create begin', 'vms.create end', 'vms.rename begin', 'vms.rename end']);
      expect(followed.at(-1)).toMatchObject({ vmId: id, subject: 'seen', outcome: 'done' });
    });

    it('knows who did what, and how it ended; what was refused too', async () => {
      const { vms, disks, events } = fixture.host;
      const since = new Date();
      const path = join(fixture.folder, 'of operations.vhdx');
      await disks.create(path, { type: 'dynamic', sizeBytes: 2 ** 26 });
      await expect(disks.create(path, { type: 'dynamic', sizeBytes: 2 ** 26 })).rejects.toThrow();
      const { id } = await vms.create({ name: 'audited', diskPath: path });
      await vms.list();
      await vms.info(id);
      await vms.delete(id);
      const operations = await events.operations({ since });
      expect(operations.map(({ operation, outcome, errorCode }) => [operation, outcome, errorCode])).toEqual([
        ['disks.create', 'done', null],
        ['disks.create', 'failed', 'already-exists'],
        ['vms.create', 'done', null],
        ['vms.delete', 'done', null],
      ]);
      expect(operations[0]).toMatchObject({ subject: path, processId: process.pid });
      expect(operations[0]?.user.uid).toBe(process.getuid?.());
      expect(operations[3]).toMatchObject({ vmId: id, vmName: 'audited' });
      const ofMachine = await events.operations({ since, vmId: id });
      expect(ofMachine.map(({ operation }) => operation)).toEqual(['vms.create', 'vms.delete']);
      expect(await events.operations({ since, last: 1 })).toEqual([ofMachine[1]]);
    });

    it('writes nothing down of a dry run', async () => {
      const since = new Date();
      const path = join(fixture.folder, 'never.vhdx');
      await fixture.host.disks.create(path, { type: 'dynamic', sizeBytes: 2 ** 26, dryRun: true });
      expect(await fixture.host.events.list({ since })).toEqual([]);
    });

    it('measures only what runs', async () => {
      const { id } = await fixture.host.vms.create({ name: 'still' });
      await expect(fixture.host.events.measure(id)).rejects.toMatchObject({ code: 'invalid-state' });
      await expect(fixture.host.events.measure(crypto.randomUUID())).rejects.toMatchObject({ code: 'not-found' });
    });
  });
}
