import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { HostFixture, MakeFixture } from '../fixture.ts';

/** The host itself. */
export function describeHost(engine: string, make: MakeFixture): void {
  describe(`${engine}: the host`, () => {
    let fixture: HostFixture;
    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(() => fixture.close());

    it('says what it is', async () => {
      const info = await fixture.host.system.info();
      const capabilities = await fixture.host.capabilities();
      expect(info.engine).toBe(capabilities.engine);
      expect(info.acceleration).toBe(capabilities.acceleration);
      expect(info.computerName).not.toBe('');
      expect(info.logicalProcessorCount).toBeGreaterThan(0);
      expect(info.memoryCapacityBytes).toBeGreaterThan(2 ** 28);
      expect(info.memoryAvailableBytes).toBeLessThanOrEqual(info.memoryCapacityBytes);
    });

    it('changes its default paths, puts new disks there, and remembers', async () => {
      const vhdPath = join(fixture.folder, 'my disks');
      expect((await fixture.host.system.set({ vhdPath })).vhdPath).toBe(vhdPath);
      const other = await fixture.reopen();
      expect((await other.system.info()).vhdPath).toBe(vhdPath);
      await other.close();
      const { id } = await fixture.host.vms.create({ name: 'placed', newDiskSizeBytes: 64 * 2 ** 20 });
      expect((await fixture.host.vms.diskPaths(id))[0]).toContain(vhdPath);
    });

    it('refuses a default path that is no folder and changes nothing', async () => {
      const before = await fixture.host.system.info();
      const file = join(fixture.folder, 'a file');
      await writeFile(file, 'x');
      await mkdir(join(fixture.folder, 'fine'));
      for (const vhdPath of [file, 'relative/folder', '']) {
        await expect(fixture.host.system.set({ vhdPath })).rejects.toMatchObject({ code: 'invalid-argument' });
      }
      expect((await fixture.host.system.info()).vhdPath).toBe(before.vhdPath);
    });

    it('examines itself and gives a fix for everything that it finds wanting', async () => {
      const findings = await fixture.host.system.doctor();
      expect(findings.length).toBeGreaterThan(3);
      for (const finding of findings) {
        expect(finding.message).not.toBe('');
        if (finding.status !== 'ok') expect(finding.fix).toBeTruthy();
      }
    });

    it('has its built-in switch from the first moment', async () => {
      expect((await fixture.host.switches.list()).map((each) => each.name)).toContain('Default Switch');
    });
  });
}
