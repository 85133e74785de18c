import { expect, test } from 'vitest';
import { ChangeTracker } from '../../src/formats/rct/index.ts';
import { createVhdx, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore } from '../../src/store/testing/fault-store.ts';

const MIB = 2 ** 20;
const everything = Number.POSITIVE_INFINITY;

const sector = (value: number): Uint8Array => new Uint8Array(512).fill(value);

function newDisk(): MemoryStore {
  const disk = new MemoryStore();
  createVhdx(disk, { type: 'dynamic', virtualSizeBytes: 256 * MIB, blockSizeBytes: MIB });
  return disk;
}

test.each(['write', 'flush'] as const)(
  'a tracking file never stops its disk: after a failed %s the ids are void',
  async (what) => {
    const disk = newDisk();
    const failing = new FaultStore();
    const id = ChangeTracker.create(failing, VhdxImage.open(disk).state).state().mostRecentId ?? '';
    const total = { write: failing.counts.write, flush: failing.counts.flush };
    let voided = 0;
    for (let nth = 1; nth <= 4; nth++) {
      const copy = disk.clone();
      const store = new FaultStore(failing.content());
      if (what === 'write') store.failWrite = nth;
      else store.failFlush = nth;
      const image = VhdxImage.open(copy, { changes: ChangeTracker.open(store) });
      image.write(5 * MIB, sector(1), 0, 512);
      await image.flush();
      image.write(100 * MIB, sector(2), 0, 512);
      await image.close();
      const later = ChangeTracker.open(store);
      const again = VhdxImage.open(copy, { changes: later, readOnly: true });
      const bytes = new Uint8Array(512);
      again.read(100 * MIB, bytes, 0, 512);
      expect(bytes).toEqual(sector(2));
      // A file that did not fit any more has begun anew.
      if (!later.knows(id)) {
        voided++;
        expect(() => later.query(id, 0, 256 * MIB, everything)).toThrow(
          expect.objectContaining({ detail: expect.objectContaining({ reason: 'tracking-broken' }) }),
        );
        continue;
      }
      const offsets = later.query(id, 0, 256 * MIB, everything).ranges;
      for (const offset of [5 * MIB, 100 * MIB]) {
        expect(
          offsets.some((range) => range.offsetBytes <= offset && offset < range.offsetBytes + range.lengthBytes),
        ).toBe(true);
      }
    }
    expect(total.write).toBeGreaterThan(0);
    expect(voided).toBeGreaterThan(0);
  },
);
