import { afterEach, beforeEach, expect, it } from 'vitest';
import { openVhd } from '../../src/disk/index.ts';
import { bytesIn, MIB, type MountFixture, mountFixture, PART1, PART2 } from './fixture.ts';
import { guestObstacle, runNbdGuest } from './nbd-guest.ts';

const obstacle = await guestObstacle();
const GUEST_TIMEOUT_MS = 400_000;

let fixture: MountFixture;
beforeEach(async () => {
  fixture = await mountFixture();
});
afterEach(() => fixture[Symbol.asyncDispose]());

it.skipIf(obstacle !== undefined)(
  `mounts disks as NBD devices of a real kernel, in a guest${obstacle === undefined ? '' : ` (skipped: ${obstacle})`}`,
  { timeout: GUEST_TIMEOUT_MS + 60_000 },
  async () => {
    {
      await using device = await openVhd(fixture.disk);
      const bytes = Buffer.from('from outside');
      device.write(PART2.offset + 4096, bytes, 0, bytes.length);
    }
    const shown = await runNbdGuest(fixture.disk, GUEST_TIMEOUT_MS);
    console.log(shown.split('\n').filter((line) => line.startsWith('seen: ')).join('\n')); // biome-ignore format: one thing
    expect(shown).toContain('ALL SEEN');
    // What the guest's kernel wrote came out of it in the file alone.
    const bytes = Buffer.alloc(3 * MIB, 'through the kernel ');
    expect((await bytesIn(fixture.disk, PART1.offset + MIB, bytes.length)).equals(bytes)).toBe(true);
    expect((await bytesIn(fixture.disk, 60 * MIB, 4096)).equals(Buffer.alloc(4096, 'whole disk '))).toBe(true);
    expect((await bytesIn(fixture.disk, PART1.offset + 12 * MIB, 4096)).toString()).toBe('loop'.repeat(1024));
  },
);
