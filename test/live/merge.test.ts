import { describe, expect, it } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { LiveMerge } from '../../src/disk/live-merge.ts';
import { mergeImages } from '../../src/disk/merge.ts';
import type { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, ProcessDeath, seededRandom } from '../../src/store/testing/fault-store.ts';
import { type LayerStore, makeChain, openLayers, SectorModel } from './model.ts';

/** Which files there are, and which of them is merged into the next. */
const SHAPES = [
  { name: 'the leaf into its only parent', files: 2, depth: 0 },
  { name: 'the leaf into a parent with parents', files: 3, depth: 0 },
  { name: 'the file under the leaf', files: 3, depth: 1 },
  { name: 'a file two below the leaf', files: 4, depth: 2 },
] as const;

/** The merge with a user of the disk in between, to its end. */
async function mergeUnderWrites(
  layers: readonly LayerStore[],
  depth: number,
  model: SectorModel,
  random: () => number,
  options: { readonly hostRun?: string; readonly onSettled?: () => void } = {},
): Promise<ReturnType<typeof openLayers>> {
  const chain = openLayers(layers, options.hostRun);
  for (let before = 0; before < 3; before++) await model.change(chain, random);
  const merge = new LiveMerge(chain, depth);
  const device = merge.device ?? chain;
  while (!merge.copy.isComplete) {
    merge.step();
    if (random() < 0.7) await model.change(device, random);
  }
  await model.change(device, random);
  await merge.flush();
  await model.change(device, random);
  merge.settle();
  options.onSettled?.();
  await merge.finish()();
  return chain;
}

describe.each(SHAPES)('a merge of $name while the disk is written to', ({ files, depth }) => {
  it('changes nothing that is read, and the disk goes on without the file', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const random = seededRandom(seed);
      const { layers, tags } = await makeChain(files, random);
      const model = new SectorModel(tags);
      const chain = await mergeUnderWrites(layers, depth, model, random);
      expect(chain.layers.map(({ path }) => path)).toEqual(
        layers.map(({ path }) => path).filter((_, at) => at !== depth),
      );
      expect(chain.layers.map(({ readOnly }) => readOnly)).toEqual(chain.layers.map((_, at) => at > 0));
      expect(model.wrongAfterDeath(chain), `seed ${seed}`).toBeUndefined();
      for (let after = 0; after < 3; after++) await model.change(chain, random);
      await chain.close();
      const again = openLayers(
        layers.filter((_, at) => at !== depth),
        undefined,
      );
      expect(model.wrongAfterDeath(again), `seed ${seed}, opened again`).toBeUndefined();
    }
  });

  it('that is given up leaves a chain that can be merged another time', async () => {
    for (let seed = 1; seed <= 6; seed++) {
      const random = seededRandom(seed);
      const { layers, tags } = await makeChain(files, random);
      const model = new SectorModel(tags);
      const chain = openLayers(layers, undefined);
      const merge = new LiveMerge(chain, depth);
      for (let step = 0; step < 4; step++) {
        if (!merge.copy.isComplete) merge.step();
        await model.change(merge.device ?? chain, random);
      }
      merge.abandon();
      expect(chain.layers.map(({ readOnly }) => readOnly)).toEqual(chain.layers.map((_, at) => at > 0));
      for (let after = 0; after < 3; after++) await model.change(chain, random);
      expect(model.wrongAfterDeath(chain), `seed ${seed}`).toBeUndefined();
      await chain.close();
      const second = await mergeUnderWrites(layers, depth, model, random);
      expect(model.wrongAfterDeath(second), `seed ${seed}, merged`).toBeUndefined();
      await second.close();
    }
  });

  it('survives the death of the process and a power cut at any moment', { timeout: 60_000 }, async () => {
    const hostRun = randomGuid();
    const { layers, tags } = await makeChain(files, seededRandom(5));
    let moments = 0;
    for (let budget = 1, died = true; died; budget += 1 + Math.floor(budget / 12)) {
      const random = seededRandom(77);
      const model = new SectorModel(tags.slice());
      const stores = layers.map(({ path, store }) => ({ path, store: new FaultStore(store) }));
      let left = budget;
      let isSettled = false;
      for (const { store } of stores) {
        store.afterChange = () => {
          if (--left <= 0) throw new ProcessDeath();
        };
      }
      died = false;
      try {
        await mergeUnderWrites(stores, depth, model, random, {
          hostRun,
          onSettled: () => {
            isSettled = true;
          },
        });
      } catch (error) {
        if (!(error instanceof ProcessDeath)) throw error;
        died = true;
        moments++;
      }
      const cut = seededRandom(budget);
      for (const kind of ['death', 'power cut'] as const) {
        const left = stores.map(({ path, store }) => {
          if (kind === 'death') return { path, store: store.content() };
          const replay = store.replayer();
          replay.advance(store.events.length);
          return { path, store: replay.afterPowerCut(cut) };
        });
        await checkAndFinish(left, depth, model, {
          kind,
          isSettled,
          hostRun: kind === 'death' ? hostRun : randomGuid(),
        });
      }
    }
    expect(moments).toBeGreaterThan(15);
  });
});

/** What is there after a crash reads right, with or without the merged file as the files themselves say, and can be merged. */
async function checkAndFinish(
  layers: { path: string; store: MemoryStore }[],
  depth: number,
  model: SectorModel,
  crash: { readonly kind: 'death' | 'power cut'; readonly isSettled: boolean; readonly hostRun: string },
): Promise<void> {
  const wrong = (chain: ReturnType<typeof openLayers>): string | undefined =>
    crash.kind === 'death' ? model.wrongAfterDeath(chain) : model.wrongAfterPowerCut(chain);
  const without = layers.filter((_, at) => at !== depth);
  const copies = (of: typeof layers): typeof layers => of.map(({ path, store }) => ({ path, store: store.clone() }));
  // Once the parent holds everything, the definition may name either.
  if (depth === 0 && crash.isSettled) expect(wrong(openLayers(copies(without), crash.hostRun))).toBeUndefined();
  let chain: ReturnType<typeof openLayers>;
  try {
    chain = openLayers(copies(layers), crash.hostRun);
    if (depth > 0 && namesParent(chain, depth, without)) throw new Error('relinked');
  } catch (error) {
    if (depth === 0 || !crash.isSettled) throw error;
    expect(wrong(openLayers(copies(without), crash.hostRun))).toBeUndefined();
    return;
  }
  expect(wrong(chain)).toBeUndefined();
  const again = openLayers(layers, crash.hostRun);
  const child = again.makeWritable(depth);
  await mergeImages(child, again.makeWritable(depth + 1));
  expect(wrong(again)).toBeUndefined();
}

/** Whether the file above the merged one already stands on the merged one's parent. */
function namesParent(chain: ReturnType<typeof openLayers>, depth: number, without: { path: string }[]): boolean {
  const above = chain.layerAt(depth - 1).image.parentReference;
  const parent = without[depth]?.path.split('/').at(-1);
  return above?.relativePath === `.\\${parent}`;
}
