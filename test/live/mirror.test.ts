import { describe, expect, it } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { DiskChain } from '../../src/disk/disk-chain.ts';
import { FollowingCopy } from '../../src/disk/following-copy.ts';
import { MirrorDevice, WholeDevice } from '../../src/disk/mirror-device.ts';
import { createVhdx, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, ProcessDeath, seededRandom } from '../../src/store/testing/fault-store.ts';
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

  it('survives the death of the process and a power cut at any moment', { timeout: 60_000 }, async () => {
    const hostRun = randomGuid();
    const { layers, tags } = await makeChain(2, seededRandom(5));
    let deaths = 0;
    let deathsAfterSwitch = 0;
    let changesAtSwitch = 0;
    // The first life goes to its end and tells where the switch is: from there on every change is a moment to die at.
    const budgets = [Number.MAX_SAFE_INTEGER];
    for (const budget of budgets) {
      const random = seededRandom(78);
      const model = new SectorModel(tags.slice());
      const sources = layers.map(({ path, store }) => ({ path, store: new FaultStore(store) }));
      const copyStore = new FaultStore(newTarget(1));
      let left = budget;
      for (const store of [...sources.map(({ store }) => store), copyStore]) {
        store.afterChange = () => {
          if (--left <= 0) throw new ProcessDeath();
        };
      }
      // Who uses the machine's disk: the original, or after the switch the mirror.
      let isSwitched = false;
      let died = false;
      try {
        const chain = openLayers(sources, hostRun);
        const target = VhdxImage.open(copyStore, { hostRun });
        const copy = new FollowingCopy(new WholeDevice(chain), target, { isTargetBlank: false, findZeroes: true });
        const device = new MirrorDevice(chain, copy);
        const mustFollow = (): void => {
          if (device.failure) throw device.failure.error;
        };
        while (!copy.isComplete) {
          device.follow((following) => following.step());
          mustFollow();
          if (random() < 0.7) await model.change(device, random);
          mustFollow();
        }
        for (let after = 0; after < 6; after++) await model.change(device, random);
        mustFollow();
        await target.flush();
        model.noteFlush();
        isSwitched = true;
        changesAtSwitch = budget - left;
        const mirror = new DiskChain([{ image: target, path: '/mirror.vhdx', identity: '/mirror.vhdx' }]);
        for (let after = 0; after < 30; after++) await model.change(mirror, random);
        await mirror.close();
      } catch (error) {
        if (!(error instanceof ProcessDeath)) throw error;
        died = true;
        deaths++;
      }
      if (isSwitched && died) deathsAfterSwitch++;
      if (budgets.length === 1) {
        const step = Math.ceil(changesAtSwitch / 20);
        for (let at = 1; at < changesAtSwitch; at += step) budgets.push(at);
        for (let at = changesAtSwitch; at < budget - left; at++) budgets.push(at);
      }
      const cut = seededRandom(budget);
      for (const kind of ['death', 'power cut'] as const) {
        const left = (store: FaultStore): MemoryStore => {
          if (kind === 'death') return store.content();
          const replay = store.replayer();
          replay.advance(store.events.length);
          return replay.afterPowerCut(cut);
        };
        const run = kind === 'death' ? hostRun : randomGuid();
        const where = `${kind} after change ${budget}`;
        const wrong = (disk: Parameters<SectorModel['wrongAfterDeath']>[0]): string | undefined =>
          kind === 'death' ? model.wrongAfterDeath(disk) : model.wrongAfterPowerCut(disk);
        const mirrored = left(copyStore);
        if (isSwitched) {
          expect(wrong(VhdxImage.open(mirrored, { hostRun: run })), where).toBeUndefined();
          continue;
        }
        const chain = openLayers(
          sources.map(({ path, store }) => ({ path, store: left(store) })),
          run,
        );
        expect(wrong(chain), where).toBeUndefined();
        // What is there of the mirror opens, and mirroring begins anew into it.
        const target = VhdxImage.open(mirrored, { hostRun: run });
        const again = new FollowingCopy(new WholeDevice(chain), target, { isTargetBlank: false, findZeroes: true });
        while (!again.isComplete) again.step();
        expect(wrong(target), `${where}, mirrored again`).toBeUndefined();
      }
    }
    expect(deaths).toBeGreaterThan(15);
    expect(deathsAfterSwitch).toBeGreaterThan(5);
  });

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
