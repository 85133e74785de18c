import { describe, expect, it } from 'vitest';
import { FollowingCopy } from '../../src/disk/following-copy.ts';
import { MirrorDevice, WholeDevice } from '../../src/disk/mirror-device.ts';
import { createVhdx, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';
import { DISK_BYTES, MIB, makeChain, openLayers, SectorModel } from './model.ts';

function newTarget(seed: number): MemoryStore {
  const store = new MemoryStore();
  createVhdx(store, { type: 'dynamic', virtualSizeBytes: DISK_BYTES, blockSizeBytes: (1 + (seed % 2)) * MIB });
  return store;
}

describe('a mirror of a disk that is written to', () => {
  it('holds the same as the disk as soon as it is synchronized, and at every moment after that', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = seededRandom(seed);
      const { layers, tags } = await makeChain(2, random);
      const model = new SectorModel(tags);
      const chain = openLayers(layers, undefined);
      const store = newTarget(seed);
      const target = VhdxImage.open(store);
      // What an earlier try left there.
      if (seed % 3 === 0) target.write(MIB, new Uint8Array(3 * MIB).fill(7), 0, 3 * MIB);
      const copy = new FollowingCopy(new WholeDevice(chain), target, { isTargetBlank: false, findZeroes: true });
      const device = new MirrorDevice(chain, copy);
      while (!copy.isComplete) {
        device.follow((following) => following.step());
        if (random() < 0.7) await model.change(device, random);
      }
      for (let after = 0; after < 6; after++) {
        expect(model.wrongAfterDeath(target), `seed ${seed}, change ${after}`).toBeUndefined();
        await model.change(device, random);
      }
      expect(device.failure).toBeUndefined();
      expect(model.wrongAfterDeath(target), `seed ${seed}`).toBeUndefined();
      // The death of the process at this moment: what was answered is on both sides.
      expect(model.wrongAfterDeath(VhdxImage.open(store.clone())), `seed ${seed}, after a death`).toBeUndefined();
      await target.flush();
      await target.close();
      expect(model.wrongAfterDeath(VhdxImage.open(store, { readOnly: true }))).toBeUndefined();
      await chain.close();
    }
  });

  it.each(['a failing write', 'a full disk'])(
    'ends with %s of the target, and the disk notices nothing',
    async (fault) => {
      let failures = 0;
      for (let seed = 1; seed <= 12; seed++) {
        const random = seededRandom(seed);
        const { layers, tags } = await makeChain(2, random);
        const model = new SectorModel(tags);
        const chain = openLayers(layers, undefined);
        const store = new FaultStore(newTarget(seed));
        const target = VhdxImage.open(store, { backgroundFlush: false });
        if (fault === 'a full disk') store.capacityBytes = store.size() + seed * MIB;
        else store.failWrite = store.counts.write + 4 * seed;
        const copy = new FollowingCopy(new WholeDevice(chain), target, { isTargetBlank: false, findZeroes: true });
        const device = new MirrorDevice(chain, copy);
        for (let step = 0; step < 60; step++) {
          if (!copy.isComplete) device.follow((following) => following.step());
          await model.change(device, random);
        }
        const code = fault === 'a full disk' ? 'no-space' : 'io';
        if (device.failure) {
          failures++;
          expect(device.failure.error).toMatchObject({ code });
        }
        expect(model.wrongAfterDeath(chain), `seed ${seed}`).toBeUndefined();
        await chain.close();
        expect(model.wrongAfterDeath(openLayers(layers, undefined))).toBeUndefined();
      }
      expect(failures).toBeGreaterThan(3);
    },
  );

  it('gives zeros no space in the target', async () => {
    const source = VhdxImage.open(newTarget(0));
    source.write(0, new Uint8Array(4 * MIB), 0, 4 * MIB);
    source.write(5 * MIB, new Uint8Array(4096).fill(1), 0, 4096);
    const store = newTarget(0);
    const target = VhdxImage.open(store);
    const before = store.size();
    const runs = function* (offset: number, length: number) {
      for (const run of source.segments(offset, length)) {
        yield {
          offset: run.offset,
          length: run.length,
          kind: run.kind === 'data' ? ('data' as const) : ('zero' as const),
        };
      }
    };
    const read = source.read.bind(source);
    const copy = new FollowingCopy({ sizeBytes: DISK_BYTES, read, runs }, target, {
      isTargetBlank: false,
      findZeroes: true,
    });
    while (!copy.isComplete) copy.step();
    expect(store.size() - before).toBeLessThanOrEqual(2 * MIB);
  });
});
