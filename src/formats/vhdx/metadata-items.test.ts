import { describe, expect, test } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore, seededRandom } from '../../store/testing/fault-store.ts';
import { createVhdx } from './create.ts';
import { VhdxImage } from './vhdx-image.ts';

const MIB = 1024 * 1024;

function newDisk(): MemoryStore {
  const store = new MemoryStore();
  createVhdx(store, { type: 'dynamic', virtualSizeBytes: 64 * MIB, blockSizeBytes: MIB });
  return store;
}

function bytesOf(length: number, random: () => number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

function contentOf(image: VhdxImage): Record<string, string> {
  return Object.fromEntries(
    image.userItems.map(({ id }) => [id, Buffer.from(image.readUserItem(id)).toString('base64')]),
  );
}

describe('user metadata', () => {
  test('any sequence of set and delete, with writes and reopening between, keeps what a map keeps', async () => {
    const random = seededRandom(7);
    const store = newDisk();
    const ids = Array.from({ length: 12 }, () => randomGuid());
    const model = new Map<string, Uint8Array>();
    let image = VhdxImage.open(store);
    for (let step = 0; step < 150; step++) {
      const id = ids[Math.floor(random() * ids.length)] as string;
      const choice = random();
      if (choice < 0.55) {
        const bytes = bytesOf(Math.floor(random() * (random() < 0.1 ? 400_000 : 3000)), random);
        image.setUserItem(id, bytes);
        model.set(id, bytes);
      } else if (choice < 0.8) {
        if (model.delete(id)) image.deleteUserItem(id);
        else expect(() => image.deleteUserItem(id)).toThrow(expect.objectContaining({ code: 'not-found' }));
      } else if (choice < 0.9) {
        image.write(step * 4096, new Uint8Array(4096).fill(9), 0, 4096);
      } else {
        await image.close();
        image = VhdxImage.open(store);
      }
      const expected = [...model].map(([key, bytes]) => [key, Buffer.from(bytes).toString('base64')]);
      expect(contentOf(image), `step ${step}`).toEqual(Object.fromEntries(expected));
    }
    const { regions } = image;
    await image.close();
    const reopened = VhdxImage.open(store);
    expect(reopened.userItems).toHaveLength(model.size);
    expect(reopened.regions).toEqual(regions);
  });

  test('1,024 items fit, the last of 1 MiB; the region moves for them, and no more are taken', async () => {
    const ids = Array.from({ length: 1024 }, () => randomGuid());
    const flags = { isUser: true, isVirtualDisk: false, isRequired: false, offset: 0, length: 0 };
    const store = new MemoryStore();
    createVhdx(store, {
      type: 'dynamic',
      virtualSizeBytes: 64 * MIB,
      inheritedItems: ids.slice(4, 1020).map((itemId, index) => ({
        item: { itemId, ...flags },
        bytes: new Uint8Array(index % 7).fill(index),
      })),
    });
    const image = VhdxImage.open(store);
    const place = image.regions.metadata;
    for (const index of [0, 1, 2, 3]) image.setUserItem(ids[index] as string, new Uint8Array(300_000).fill(index));
    for (const index of [1020, 1021, 1022]) image.setUserItem(ids[index] as string, new Uint8Array(index));
    image.setUserItem(ids[1023] as string, new Uint8Array(MIB).fill(1023));
    expect(image.regions.metadata.length).toBeGreaterThan(place.length);
    const before = store.clone();
    expect(() => image.setUserItem(randomGuid(), new Uint8Array(1))).toThrow(
      expect.objectContaining({ code: 'unsupported' }),
    );
    await image.close();
    const reopened = VhdxImage.open(store);
    expect(reopened.userItems).toHaveLength(1024);
    expect(Buffer.compare(reopened.readUserItem(ids[1023] as string), new Uint8Array(MIB).fill(1023))).toBe(0);
    expect(Buffer.compare(reopened.readUserItem(ids[3] as string), new Uint8Array(300_000).fill(3))).toBe(0);
    expect(VhdxImage.open(before).userItems).toHaveLength(1024);
    reopened.setUserItem(ids[0] as string, new Uint8Array(0));
    expect(reopened.readUserItem(ids[0] as string)).toHaveLength(0);
    reopened.deleteUserItem(`{${(ids[1] as string).toUpperCase()}}`);
    expect(reopened.userItems).toHaveLength(1023);
    await reopened.close();
  });

  test('what is no item is refused before anything changes', () => {
    const store = new FaultStore(newDisk());
    const image = VhdxImage.open(store);
    const refused = (code: string): unknown => expect.objectContaining({ code });
    expect(() => image.setUserItem('name', new Uint8Array(1))).toThrow(refused('invalid-argument'));
    expect(() => image.setUserItem('00000000-0000-0000-0000-000000000000', new Uint8Array(1))).toThrow(
      refused('invalid-argument'),
    );
    expect(() => image.setUserItem(randomGuid(), new Uint8Array(MIB + 1))).toThrow(refused('invalid-argument'));
    expect(() => image.readUserItem(randomGuid())).toThrow(refused('not-found'));
    expect(() => image.deleteUserItem(randomGuid())).toThrow(refused('not-found'));
    expect(() => image.changeVirtualDiskId('x')).toThrow(refused('invalid-argument'));
    expect(() => image.changePhysicalSectorSize(1024)).toThrow(refused('invalid-argument'));
    expect(store.changes).toBe(0);
  });

  test('a write that fails leaves every item as it was', () => {
    const id = randomGuid();
    for (let failWrite = 1; failWrite < 40; failWrite++) {
      const store = new FaultStore(newDisk());
      const image = VhdxImage.open(store);
      image.setUserItem(id, new Uint8Array(700_000).fill(1));
      const other = randomGuid();
      store.failWrite = store.counts.write + failWrite;
      try {
        // Moves the region.
        image.setUserItem(other, new Uint8Array(900_000).fill(2));
      } catch {
        // What is asked next says whether all or nothing was done.
      }
      const isFailed = store.counts.write >= store.failWrite;
      const items = contentOf(VhdxImage.open(store.content()));
      expect(items[id]).toBe(Buffer.alloc(700_000, 1).toString('base64'));
      expect(contentOf(image), `write ${failWrite}`).toEqual(items);
      if (!isFailed) return;
    }
    throw new Error('more writes than were tried');
  });
});

describe('what a file says of itself', () => {
  test('the disk id and the physical sector size change, durably, and the contents count as changed', async () => {
    const store = newDisk();
    const image = VhdxImage.open(store);
    const id = randomGuid();
    const { contentId } = image;
    image.changeVirtualDiskId(`{${id.toUpperCase()}}`);
    image.changePhysicalSectorSize(512);
    expect(image).toMatchObject({ virtualDiskId: id, physicalSectorSizeBytes: 512 });
    expect(image.contentId).not.toBe(contentId);
    expect(VhdxImage.open(store.clone())).toMatchObject({ virtualDiskId: id, physicalSectorSizeBytes: 512 });
    await image.close();
    expect(VhdxImage.open(store)).toMatchObject({ virtualDiskId: id, physicalSectorSizeBytes: 512 });
  });
});
