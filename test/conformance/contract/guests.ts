import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MAX_PAIRS } from '../../../src/model/index.ts';
import type { HostFixture, MakeFixture } from '../fixture.ts';

/** What is asked of guests where there is none: machines that are off, and machines without a system. */
export function describeGuests(engine: string, make: MakeFixture): void {
  describe(`${engine}: guests that cannot answer`, () => {
    let fixture: HostFixture;
    let id = '';
    beforeAll(async () => {
      fixture = await make();
      ({ id } = await fixture.host.vms.create({ name: 'silent', generation: 1, memoryBytes: 64 * 2 ** 20 }));
      await writeFile(join(fixture.folder, 'file'), 'x');
    });
    afterAll(() => fixture.close());

    const askAll = async (code: string): Promise<void> => {
      const { guest } = fixture.host;
      const local = join(fixture.folder, 'file');
      for (const work of [
        () => guest.info(id),
        () => guest.exec(id, 'true', []),
        () => guest.copyTo(id, local, '/tmp/x'),
        () => guest.copyFrom(id, '/etc/hosts', join(fixture.folder, 'hosts')),
        () => guest.setTime(id),
      ]) {
        await expect(work()).rejects.toMatchObject({ code });
      }
      expect(await guest.heartbeat(id)).toBe(false);
      expect(await guest.ipAddresses(id)).toEqual([]);
    };

    it('says so of a machine that is off, and of its keyboard', async () => {
      await askAll('invalid-state');
      const { keyboard, vms } = fixture.host;
      await expect(keyboard.type(id, 'x')).rejects.toMatchObject({ code: 'invalid-state' });
      await expect(keyboard.press(id, 'ctrl+alt+del')).rejects.toMatchObject({ code: 'invalid-state' });
      await expect(keyboard.type(id, 'ä')).rejects.toMatchObject({ code: 'invalid-argument' });
      await expect(keyboard.press(id, 'any')).rejects.toMatchObject({ code: 'invalid-argument' });
      expect((await vms.info(id)).vncSocketPath).toBeNull();
    });

    it('says so at once of a machine that runs without an agent, and goes on with everything else', async () => {
      const { keyboard, guest, vms } = fixture.host;
      await vms.start(id);
      await askAll('invalid-state');
      await keyboard.press(id, 'ctrl+alt+del');
      await guest.setKeyValuePair(id, 'running', 'yes');
      expect((await vms.info(id)).state).toBe('Running');
      await vms.forceStop(id);
      await guest.deleteKeyValuePair(id, 'running');
    });

    it('keeps key-value pairs for later, and refuses what is none', async () => {
      const { guest } = fixture.host;
      await guest.setKeyValuePair(id, 'role', 'first');
      await guest.setKeyValuePair(id, 'role', 'web server');
      const other = await fixture.reopen();
      expect(await other.guest.keyValuePairs(id)).toEqual([{ source: 'host', key: 'role', value: 'web server' }]);
      await other.close();
      for (const [key, value] of [
        ['', 'x'],
        ['a=b', 'x'],
        ['key', 'two\nlines'],
        ['key', 'x'.repeat(5000)],
      ] as const) {
        await expect(guest.setKeyValuePair(id, key, value)).rejects.toMatchObject({ code: 'invalid-argument' });
      }
      for (let index = 1; index < MAX_PAIRS; index++) await guest.setKeyValuePair(id, `k${index}`, '');
      await expect(guest.setKeyValuePair(id, 'one-more', '')).rejects.toMatchObject({ code: 'invalid-argument' });
      await guest.deleteKeyValuePair(id, 'role');
      await expect(guest.deleteKeyValuePair(id, 'role')).rejects.toMatchObject({ code: 'not-found' });
      expect(await guest.keyValuePairs(id)).toHaveLength(MAX_PAIRS - 1);
    });
  });
}
