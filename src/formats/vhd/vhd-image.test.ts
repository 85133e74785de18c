import { describe, expect, test } from 'vitest';
import { encodeUtf16le, randomGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore } from '../../store/testing/fault-store.ts';
import type { ParentDisk } from '../disk-image.ts';
import { createVhdImage, type NewVhd } from './create.ts';
import { readDynamicHeader, withParent } from './dynamic-header.ts';
import {
  encodeFooter,
  findFooters,
  parseFooter,
  putText,
  readFooter,
  viewOf,
  withChecksum,
  withSize,
} from './footer.ts';
import { FOOTER_AT, GIB, KIB, MIB } from './format.ts';
import { readVhdSummary } from './inspect.ts';
import { VhdImage } from './vhd-image.ts';

const PARENT = {
  uniqueId: randomGuid(),
  timestamp: 12,
  name: 'parent.vhd',
  paths: { relativePath: '.\\parent.vhd', absolutePath: '\\vm\\parent.vhd' },
};

function newDisk(spec: Partial<NewVhd> = {}): MemoryStore {
  const store = new MemoryStore();
  createVhdImage(store, {
    type: 'dynamic',
    virtualSizeBytes: 64 * MIB,
    ...(spec.type === 'differencing' ? { parent: PARENT } : {}),
    ...spec,
  });
  return store;
}

function filledParent(sizeBytes: number, value: number): ParentDisk {
  return {
    sizeBytes,
    read: (_offset, target, targetStart, length) => target.fill(value, targetStart, targetStart + length),
    *segments(offset, length, depth) {
      const kind = value === 0 ? 'hole' : 'data';
      yield { offset, length, kind, depth, store: undefined, fileOffset: offset };
    },
  };
}

function readBytes(image: VhdImage, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(0xee);
  image.read(offset, bytes, 0, length);
  return bytes;
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof HvError)
      return error.code === 'corrupt' ? `corrupt ${String(error.detail.reason)}` : error.code;
    throw error;
  }
  return 'nothing';
}

describe('the size of a disk', () => {
  const footerOf = (creator: string, sizeBytes: number, geometry?: readonly [number, number, number]): Uint8Array => {
    const bytes = encodeFooter({ type: 'fixed', sizeBytes, uniqueId: randomGuid(), headerOffset: undefined });
    putText(bytes, FOOTER_AT.creatorApplication, creator);
    if (geometry) {
      viewOf(bytes).setUint16(FOOTER_AT.cylinders, geometry[0]);
      bytes[FOOTER_AT.heads] = geometry[1];
      bytes[FOOTER_AT.sectorsPerTrack] = geometry[2];
    }
    return withChecksum(bytes, FOOTER_AT.checksum);
  };
  const sizeOf = (bytes: Uint8Array): number => parseFooter('test', bytes, 0).sizeBytes;

  test('is the geometry’s where Virtual PC or QEMU made it, and the size field’s where anybody else did', () => {
    const byGeometry = 301 * 4 * 17 * 512;
    for (const creator of ['vpc ', 'qemu']) expect(sizeOf(footerOf(creator, 10 * MIB))).toBe(byGeometry);
    for (const creator of ['win ', 'qem2', 'd2v ', 'tap\0', 'CTXS', 'wa\0\0', 'vbox', '????']) {
      expect(sizeOf(footerOf(creator, 10 * MIB))).toBe(10 * MIB);
    }
  });

  test('is the size field’s where the geometry is the largest there is, or none', () => {
    expect(sizeOf(footerOf('vpc ', 500 * GIB))).toBe(500 * GIB);
    expect(sizeOf(footerOf('vpc ', 10 * MIB, [0, 0, 0]))).toBe(10 * MIB);
    expect(sizeOf(footerOf('vpc ', 10 * MIB, [1000, 16, 63]))).toBe(10 * MIB);
  });

  test('counts by the size field once such a disk was resized', () => {
    const bytes = footerOf('vpc ', 10 * MIB);
    expect(sizeOf(withSize(bytes, 11 * MIB))).toBe(11 * MIB);
  });
});

describe('footers', () => {
  test('what is not understood survives a rewrite', async () => {
    const store = newDisk({ type: 'fixed', virtualSizeBytes: 4 * MIB });
    const footer = new Uint8Array(512);
    store.read(4 * MIB, footer, 0, 512);
    footer.fill(0xab, 200, 300);
    putText(footer, FOOTER_AT.creatorApplication, 'abcd');
    store.write(4 * MIB, withChecksum(footer, FOOTER_AT.checksum), 0, 512);
    const image = VhdImage.open(store);
    image.resize(5 * MIB);
    await image.close();
    const { bytes, creatorApplication } = readFooter(store);
    expect(creatorApplication).toBe('abcd');
    expect(bytes.subarray(200, 300).every((byte) => byte === 0xab)).toBe(true);
  });

  test('the one of 511 bytes that old programs wrote is found', () => {
    const store = newDisk({ type: 'fixed', virtualSizeBytes: 4 * MIB });
    store.setSize(4 * MIB + 511);
    const image = VhdImage.open(store);
    expect(image.sizeBytes).toBe(4 * MIB);
    image.resize(5 * MIB);
    expect(store.size()).toBe(5 * MIB + 512);
    expect(readBytes(image, 4 * MIB, 1024).every((byte) => byte === 0)).toBe(true);
  });

  test('a guest’s data at the start of a fixed disk are never taken for one', () => {
    const store = newDisk({ type: 'fixed', virtualSizeBytes: 4 * MIB });
    const dynamic = newDisk();
    const head = new Uint8Array(4096);
    dynamic.read(0, head, 0, head.length);
    store.write(0, head, 0, head.length);
    expect(VhdImage.open(store).type).toBe('fixed');
    const fixedFooter = encodeFooter({
      type: 'fixed',
      sizeBytes: 4 * MIB,
      uniqueId: randomGuid(),
      headerOffset: undefined,
    });
    store.write(0, fixedFooter, 0, 512);
    store.write(4 * MIB, new Uint8Array(512), 0, 512);
    expect(codeOf(() => VhdImage.open(store))).toBe('corrupt no-footer');
  });

  test('a damaged one is written anew before the first change, and not before', async () => {
    for (const isTrailing of [true, false]) {
      const store = newDisk();
      store.write(isTrailing ? store.size() - 512 : 0, new Uint8Array(512), 0, 512);
      const before = store.clone();
      const image = VhdImage.open(store);
      readBytes(image, 0, 512);
      expect(findFooters(store)).toEqual(findFooters(before));
      image.write(0, new Uint8Array(512).fill(1), 0, 512);
      await image.close();
      const { leading, trailing } = findFooters(store);
      expect(leading).toBeDefined();
      expect(trailing).toEqual(leading);
    }
  });
});

describe('writing', () => {
  test('a write into a block that is there is one write of the file and no flush', () => {
    const store = new FaultStore(newDisk());
    const image = VhdImage.open(store, { background: false });
    image.write(0, new Uint8Array(4096).fill(1), 0, 4096);
    const { write, flush } = { ...store.counts };
    image.write(8192, new Uint8Array(4096).fill(2), 0, 4096);
    expect(store.counts.write).toBe(write + 1);
    expect(store.counts.flush).toBe(flush);
  });

  test('a disk that grows needs a flush for every sixteen blocks at most', async () => {
    const store = new FaultStore(newDisk({ virtualSizeBytes: 512 * MIB }));
    const image = VhdImage.open(store);
    for (let block = 0; block < 256; block++) image.write(block * 2 * MIB, new Uint8Array(512).fill(1), 0, 512);
    expect(store.counts.flush).toBeLessThan(30);
    await image.close();
    // Sixteen blocks were ready ahead of the last one: the file ends behind it all the same.
    expect(store.size()).toBeLessThan(256 * (2 * MIB + 4 * KIB) + 8 * KIB);
  });

  test('payload lies in whole pages, as Windows has it', () => {
    const store = newDisk();
    const image = VhdImage.open(store);
    for (const block of [9, 4]) image.write(block * 2 * MIB, new Uint8Array(512).fill(1), 0, 512);
    for (const { kind, fileOffset } of image.segments(0, 64 * MIB))
      if (kind === 'data') expect(fileOffset % 4096).toBe(0);
  });

  test('in place of a freed block another is written, after a flush', async () => {
    const store = newDisk();
    const image = VhdImage.open(store, { background: false });
    const piece = new Uint8Array(2 * MIB).fill(5);
    for (const block of [0, 1, 2]) image.write(block * 2 * MIB, piece, 0, piece.length);
    image.trim(2 * MIB, 2 * MIB);
    await image.close();
    const size = store.size();
    const again = VhdImage.open(store);
    again.write(20 * MIB, new Uint8Array(512).fill(6), 0, 512);
    expect(readBytes(again, 20 * MIB + 512, 512).every((byte) => byte === 0)).toBe(true);
    await again.close();
    expect(store.size()).toBe(size);
  });

  test('sectors that others left unset in a dynamic disk read as zero, and are zeroed before their bits are set', () => {
    const store = newDisk();
    const image = VhdImage.open(store);
    image.write(0, new Uint8Array(2 * MIB).fill(9), 0, 2 * MIB);
    const [segment] = image.segments(0, 512);
    // As a program leaves it that sets bits for what was written alone.
    const bitmap = new Uint8Array(512);
    bitmap[0] = 0b1010_0000;
    store.write((segment?.fileOffset ?? 0) - 512, bitmap, 0, 512);
    const again = VhdImage.open(store);
    expect([...readBytes(again, 0, 4 * 512)].filter((_, at) => at % 512 === 0)).toEqual([9, 0, 9, 0]);
    expect([...again.segments(0, 2048)].map(({ kind }) => kind)).toEqual(['data', 'zero', 'data', 'zero']);
    again.write(5 * 512, new Uint8Array(512).fill(3), 0, 512);
    expect([...readBytes(again, 0, 6 * 512)].filter((_, at) => at % 512 === 0)).toEqual([9, 0, 9, 0, 0, 3]);
    store.read((segment?.fileOffset ?? 0) - 512, bitmap, 0, 512);
    expect(bitmap.every((byte) => byte === 0xff)).toBe(true);
  });

  test('a failing write leaves what was there, and the next one works', async () => {
    for (const type of ['dynamic', 'differencing'] as const) {
      for (let failing = 1; failing < 12; failing++) {
        const store = new FaultStore(newDisk({ type }));
        const image = VhdImage.open(store, { background: false });
        if (type === 'differencing') image.setParent(filledParent(64 * MIB, 7));
        const old = readBytes(image, 0, 8192);
        store.failWrite = failing;
        const bytes = new Uint8Array(8192).fill(0x11);
        const code = codeOf(() => image.write(0, bytes, 0, 8192));
        expect(['io', 'nothing']).toContain(code);
        store.failWrite = 0;
        const now = readBytes(image, 0, 8192);
        for (const [at, byte] of now.entries()) expect([old[at], 0x11]).toContain(byte);
        image.write(0, bytes, 0, 8192);
        await image.close();
        const again = VhdImage.open(store.content());
        if (type === 'differencing') again.setParent(filledParent(64 * MIB, 7));
        expect(readBytes(again, 0, 8192).every((byte) => byte === 0x11)).toBe(true);
        expect(readBytes(again, 8192, 512).every((byte) => byte === old[0])).toBe(true);
      }
    }
  });

  test('a full file system is told, and what was there stays', async () => {
    const store = new FaultStore(newDisk());
    store.capacityBytes = 5 * MIB;
    const image = VhdImage.open(store);
    image.write(0, new Uint8Array(512).fill(1), 0, 512);
    const refused = (offset: number): string => codeOf(() => image.write(offset, new Uint8Array(512).fill(2), 0, 512));
    expect([2, 4, 6, 8].map((mib) => refused(mib * 2 * MIB))).toContain('no-space');
    expect(readBytes(image, 0, 512).every((byte) => byte === 1)).toBe(true);
    store.capacityBytes = 100 * MIB;
    image.write(20 * MIB, new Uint8Array(512).fill(3), 0, 512);
    await image.close();
    expect(readBytes(VhdImage.open(store.content()), 20 * MIB, 1)[0]).toBe(3);
  });
});

describe('a file above a parent', () => {
  test('a sector in the middle of a block leaves the parent visible around it, at any alignment', () => {
    const image = VhdImage.open(newDisk({ type: 'differencing' }));
    image.setParent(filledParent(64 * MIB, 7));
    image.write(5 * MIB + 100, new Uint8Array(700).fill(9), 0, 700);
    const around = readBytes(image, 5 * MIB, 8192);
    expect(around.subarray(0, 100).every((byte) => byte === 7)).toBe(true);
    expect(around.subarray(100, 800).every((byte) => byte === 9)).toBe(true);
    expect(around.subarray(800).every((byte) => byte === 7)).toBe(true);
  });

  test('a zeroed block hides the parent, and is never freed where that would show it', () => {
    for (const value of [7, 0]) {
      const image = VhdImage.open(newDisk({ type: 'differencing' }));
      image.setParent(filledParent(64 * MIB, value));
      image.write(0, new Uint8Array(2 * MIB).fill(9), 0, 2 * MIB);
      image.writeZeroes(0, 2 * MIB, true);
      expect(readBytes(image, 0, 4096).every((byte) => byte === 0)).toBe(true);
      expect([...image.heldBlocks()]).toHaveLength(value === 0 ? 0 : 1);
      expect(image.heldBlocks().next().done || !image.releaseZeroBlock(0)).toBe(true);
      image.write(4 * MIB, new Uint8Array(2 * MIB).fill(9), 0, 2 * MIB);
      image.trim(4 * MIB, 2 * MIB);
      expect([0, 9]).toContain(readBytes(image, 4 * MIB, 1)[0]);
    }
  });

  test('writes into one grain share a flush; above zeros there is none', () => {
    for (const [value, flushes] of [
      [7, 1],
      [0, 0],
    ] as const) {
      const store = new FaultStore(newDisk({ type: 'differencing' }));
      const image = VhdImage.open(store, { background: false });
      image.setParent(filledParent(64 * MIB, value));
      image.write(0, new Uint8Array(512).fill(1), 0, 512);
      const before = store.counts.flush;
      for (let sector = 200; sector < 256; sector += 2) image.write(sector * 512, new Uint8Array(512).fill(2), 0, 512);
      expect(store.counts.flush - before).toBe(flushes);
    }
  });

  test('the file says what it must: both locators, the id, the time and the name', () => {
    const { header, parentReference, footer } = readVhdSummary(newDisk({ type: 'differencing' }));
    expect(footer.type).toBe('differencing');
    expect(header).toMatchObject({ parentUniqueId: PARENT.uniqueId, parentTimestamp: 12, parentName: 'parent.vhd' });
    expect(header?.locators.map(({ platform }) => platform)).toEqual(['W2ku', 'W2ru']);
    expect(parentReference).toMatchObject({ linkages: [PARENT.uniqueId], ...PARENT.paths, volumePath: undefined });
  });

  test('locators of every kind are read, and the name alone where there is none', () => {
    const reference = (locators: readonly (readonly [string, Uint8Array])[], name = ''): unknown => {
      const store = newDisk({ type: 'differencing' });
      const header = readDynamicHeader(store, readFooter(store));
      const entries = locators.map(([platform, bytes], index) => {
        const fileOffset = 8192 + index * 512;
        store.write(fileOffset, bytes, 0, bytes.length);
        return { platform, fileOffset, spaceBytes: 512, length: bytes.length };
      });
      const changed = withParent(header.bytes, { uniqueId: PARENT.uniqueId, timestamp: 0, name, locators: entries });
      store.write(512, changed, 0, changed.length);
      return readVhdSummary(store).parentReference;
    };
    const ascii = (text: string): Uint8Array => new TextEncoder().encode(text);
    expect(reference([['W2ru', encodeUtf16le('.\\a.vhd\0')]])).toMatchObject({ relativePath: '.\\a.vhd' });
    expect(reference([['Wi2r', ascii('a.vhd')]])).toMatchObject({ relativePath: 'a.vhd', absolutePath: undefined });
    expect(reference([['Wi2k', ascii('C:\\a.vhd')]])).toMatchObject({ absolutePath: 'C:\\a.vhd' });
    expect(reference([['MacX', ascii('file://localhost/vm/a%20b.vhd')]])).toMatchObject({
      absolutePath: '/vm/a b.vhd',
    });
    expect(reference([['MacX', ascii('https://example.org/a.vhd')]])).toMatchObject({ absolutePath: undefined });
    expect(reference([['abcd', ascii('x')]], 'b.vhd')).toMatchObject({ relativePath: '.\\b.vhd' });
    expect(reference([], 'C:\\b.vhd')).toMatchObject({ relativePath: undefined, absolutePath: 'C:\\b.vhd' });
    expect(reference([['W2ku', encodeUtf16le('C:\\x.vhd')]], 'b.vhd')).toMatchObject({ relativePath: undefined });
  });

  test('without its parent it reads nothing that is not its own', () => {
    const image = VhdImage.open(newDisk({ type: 'differencing' }));
    expect(codeOf(() => readBytes(image, 0, 512))).toBe('invalid-state');
    expect(codeOf(() => image.resize(128 * MIB))).toBe('unsupported');
  });
});

test('sizes that the format does not have are refused before anything is written', () => {
  const refuse = (spec: Partial<NewVhd>): string => {
    const store = new MemoryStore();
    const code = codeOf(() => createVhdImage(store, { type: 'dynamic', virtualSizeBytes: 64 * MIB, ...spec }));
    expect(store.size()).toBe(0);
    return code;
  };
  expect(refuse({ virtualSizeBytes: 2040 * GIB + 512 })).toBe('invalid-argument');
  expect(refuse({ virtualSizeBytes: 2 * MIB })).toBe('invalid-argument');
  expect(refuse({ virtualSizeBytes: 3 * MIB + 1 })).toBe('invalid-argument');
  expect(refuse({ blockSizeBytes: MIB })).toBe('invalid-argument');
  expect(refuse({ type: 'fixed', blockSizeBytes: 2 * MIB })).toBe('invalid-argument');
  expect(refuse({ type: 'differencing' })).toBe('invalid-argument');
});

test('the largest disk is made, written at both ends, walked and closed in a moment', async () => {
  for (const blockSizeBytes of [2 * MIB, 512 * KIB]) {
    const started = performance.now();
    const store = newDisk({ virtualSizeBytes: 2040 * GIB, blockSizeBytes });
    const image = VhdImage.open(store);
    const bytes = new Uint8Array(4096).fill(0xa5);
    const places = [0, 2040 * GIB - 4096];
    for (const at of places) image.write(at, bytes, 0, 4096);
    expect([...image.segments(0, 2040 * GIB)].map(({ kind }) => kind)).toEqual(['data', 'hole', 'data']);
    await image.reclaimSpace({});
    await image.close();
    const again = VhdImage.open(store, { readOnly: true });
    for (const at of places) expect(readBytes(again, at, 4096)).toEqual(bytes);
    expect(store.size()).toBeLessThan(30 * MIB);
    expect(performance.now() - started).toBeLessThan(8_000);
  }
});
