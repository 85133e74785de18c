import { expect, test } from 'vitest';
import { randomGuid } from '../../src/binary/index.ts';
import { relink } from '../../src/disk/set-parent.ts';
import { createVhdx, locatorPairs, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, ProcessDeath, seededRandom } from '../../src/store/testing/fault-store.ts';

const SIZE_BYTES = 8 * 2 ** 20;

test('a child names its old parent or its new one, whole, whenever the process dies or the power goes', async () => {
  const [oldId, newId, hostRun] = [randomGuid(), randomGuid(), randomGuid()];
  const initial = new MemoryStore();
  createVhdx(initial, {
    type: 'differencing',
    virtualSizeBytes: SIZE_BYTES,
    locator: [
      ...locatorPairs(oldId, randomGuid(), { relativePath: '.\\old.vhdx', absolutePath: '\\old.vhdx' }),
      ['of somebody else', 'stays'],
    ],
  });
  const before = VhdxImage.open(initial, { readOnly: true }).parentReference?.pairs;
  const after = [
    ...locatorPairs(newId, '00000000-0000-0000-0000-000000000000', {
      relativePath: '..\\a longer folder\\new.vhdx',
      absolutePath: '\\base\\a longer folder\\new.vhdx',
    }),
    ['of somebody else', 'stays'],
  ];
  const random = seededRandom(7);
  const seen = new Set<string>();
  let died = true;
  let moments = 0;
  for (let budget = 1; died; budget++) {
    const store = new FaultStore(initial);
    store.dieAfterChanges = budget;
    try {
      const image = VhdxImage.open(store, { hostRun });
      relink(image, newId, '/base/vm/child.vhdx', '/base/a longer folder/new.vhdx');
      await image.close();
      died = false;
    } catch (error) {
      if (!(error instanceof ProcessDeath)) throw error;
    }
    const replay = store.replayer();
    for (let events = 0; events <= store.events.length; events++) {
      replay.advance(events);
      for (const [content, run] of [
        [replay.content(), hostRun],
        [replay.afterPowerCut(random), randomGuid()],
      ] as const) {
        const found = VhdxImage.open(content, { hostRun: run }).parentReference?.pairs;
        expect([before, after]).toContainEqual(found);
        seen.add(JSON.stringify(found));
        moments++;
      }
    }
    if (died) continue;
    expect(VhdxImage.open(store.content(), { readOnly: true }).parentReference?.pairs).toEqual(after);
  }
  expect(seen.size).toBe(2);
  expect(moments).toBeGreaterThan(30);
});
