import { describe, expect, test } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore, seededRandom } from '../../store/testing/fault-store.ts';
import type { DiskType } from '../disk-image.ts';
import { checkVhd } from './check.ts';
import { createVhdImage } from './create.ts';
import { isFooter, withChecksum } from './footer.ts';
import { FOOTER_AT, MIB } from './format.ts';
import { VhdImage } from './vhd-image.ts';

async function newDisk(type: DiskType): Promise<MemoryStore> {
  const store = new MemoryStore();
  createVhdImage(store, {
    type,
    virtualSizeBytes: 20 * MIB,
    ...(type === 'differencing'
      ? {
          parent: {
            uniqueId: randomGuid(),
            timestamp: 0,
            name: 'p.vhd',
            paths: { relativePath: '.\\p.vhd', absolutePath: '\\p.vhd' },
          },
        }
      : {}),
  });
  const image = VhdImage.open(store);
  if (type === 'differencing') image.setParent(VhdImage.open(await newDisk('dynamic')));
  for (const at of [0, 4 * MIB, 12 * MIB]) image.write(at, new Uint8Array(4096).fill(7), 0, 4096);
  await image.close();
  return store;
}

function content(store: MemoryStore): Buffer {
  const image = VhdImage.open(store, { readOnly: true });
  const bytes = Buffer.alloc(image.sizeBytes);
  image.read(0, bytes, 0, bytes.length);
  return bytes;
}

function put(store: MemoryStore, at: number, value: number): void {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  store.write(at, bytes, 0, 4);
}

const codes = (store: MemoryStore): string[] => checkVhd(store).findings.map(({ code }) => code);

describe('checking a VHD file', () => {
  test('a sound file of every type has no findings, and is not written to by a repair', async () => {
    for (const type of ['fixed', 'dynamic', 'differencing'] as const) {
      const store = new FaultStore(await newDisk(type));
      expect(checkVhd(store, { repair: true })).toEqual({ findings: [], moreFindings: 0, repaired: [] });
      expect(store.changes).toBe(0);
    }
  });

  test('a damaged footer is written anew from the other one, wherever it lies', async () => {
    for (const isTrailing of [true, false]) {
      const store = await newDisk('dynamic');
      const expected = content(store);
      const code = isTrailing ? 'footer-damaged' : 'footer-copy-damaged';
      put(store, (isTrailing ? store.size() - 512 : 0) + FOOTER_AT.currentSize, 99);
      expect(checkVhd(store).findings).toMatchObject([{ code, severity: 'error', repair: 'possible' }]);
      expect(checkVhd(store, { repair: true }).repaired).toMatchObject([{ code }]);
      expect(codes(store)).toEqual([]);
      expect(content(store).equals(expected)).toBe(true);
    }
  });

  test('a footer that was cut off comes back behind the last block', async () => {
    const store = await newDisk('dynamic');
    const expected = content(store);
    const size = store.size();
    store.setSize(size - 512);
    expect(codes(store)).toEqual(['footer-damaged']);
    expect(checkVhd(store, { repair: true }).repaired).toHaveLength(1);
    expect(store.size()).toBe(size);
    expect(content(store).equals(expected)).toBe(true);
  });

  test('two footers that differ are told, and the trailing one counts', async () => {
    const store = await newDisk('dynamic');
    const footer = new Uint8Array(512);
    store.read(0, footer, 0, 512);
    footer[FOOTER_AT.timestamp] = 1;
    store.write(0, withChecksum(footer, FOOTER_AT.checksum), 0, 512);
    expect(checkVhd(store, { repair: true }).repaired).toMatchObject([{ code: 'footers-differ', severity: 'warning' }]);
    store.read(0, footer, 0, 512);
    expect(isFooter(footer)).toBe(true);
    expect(footer[FOOTER_AT.timestamp]).not.toBe(1);
  });

  test('every wrong entry of the table is found, not the first alone, and none is touched', async () => {
    const store = await newDisk('dynamic');
    put(store, 1536 + 4, 1);
    put(store, 1536 + 12, 0xfffffff0);
    const first = new Uint8Array(4);
    store.read(1536, first, 0, 4);
    store.write(1536 + 16, first, 0, 4);
    const before = store.clone();
    const { findings, repaired } = checkVhd(store, { repair: true });
    expect(findings.map(({ code, offsetBytes, repair }) => [code, offsetBytes, repair])).toEqual([
      ['bat-entry-offset', 1536 + 4, 'impossible'],
      ['bat-entry-beyond-end', 1536 + 12, 'impossible'],
      ['bat-entry-overlap', 1536 + 16, 'impossible'],
    ]);
    expect(repaired).toEqual([]);
    expect(before.size()).toBe(store.size());
    expect(() => VhdImage.open(store)).toThrow(expect.objectContaining({ code: 'corrupt' }));
  });

  test('a file without any footer, and one with a damaged header, say so and end there', async () => {
    const store = await newDisk('dynamic');
    const headless = store.clone();
    put(headless, 512 + 32, 12345);
    expect(codes(headless)).toEqual(['header-checksum']);
    put(store, 0, 0);
    put(store, store.size() - 512, 0);
    expect(checkVhd(store).findings).toMatchObject([{ code: 'no-footer', repair: 'impossible' }]);
    expect(checkVhd(new MemoryStore()).findings).toMatchObject([{ code: 'no-footer' }]);
  });

  test('a fixed file that is shorter than its disk, and one that is longer', async () => {
    const store = await newDisk('fixed');
    const footer = new Uint8Array(512);
    store.read(20 * MIB, footer, 0, 512);
    const longer = store.clone();
    longer.write(21 * MIB, footer, 0, 512);
    expect(checkVhd(longer).findings).toMatchObject([{ code: 'unused-space', severity: 'info', value: MIB }]);
    store.setSize(10 * MIB);
    store.write(10 * MIB, footer, 0, 512);
    expect(codes(store)).toContain('disk-size');
  });

  test('a repair that dies or loses power at any moment can be run again', async () => {
    const initial = await newDisk('dynamic');
    const expected = content(initial);
    put(initial, initial.size() - 512, 0);
    const store = new FaultStore(initial);
    checkVhd(store, { repair: true });
    const random = seededRandom(3);
    const replay = store.replayer();
    for (let events = 0; events <= store.events.length; events++) {
      replay.advance(events);
      for (const left of [replay.content(), replay.afterPowerCut(random)]) {
        expect(content(left).equals(expected)).toBe(true);
        checkVhd(left, { repair: true });
        expect(codes(left)).toEqual([]);
        expect(content(left).equals(expected)).toBe(true);
      }
    }
  });

  test('an abort ends it', async () => {
    const store = await newDisk('dynamic');
    expect(() => checkVhd(store, { signal: AbortSignal.abort() })).toThrow(
      expect.objectContaining({ code: 'aborted' }),
    );
  });
});
