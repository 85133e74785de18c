import { describe, expect, test } from 'vitest';
import { crc32c, randomGuid, writeGuid, ZERO_GUID } from '../../binary/index.ts';
import { isHvError } from '../../errors/index.ts';
import { MemoryStore } from '../../store/index.ts';
import { FaultStore, seededRandom } from '../../store/testing/fault-store.ts';
import { type CheckResult, isSound } from '../check-finding.ts';
import { checkVhdx } from './check.ts';
import { NOTES } from './check-structures.ts';
import { REASONS } from './corruption.ts';
import { createVhdx, type NewVhdx } from './create.ts';
import { ITEM } from './format.ts';
import { locatorPairs } from './locator.ts';
import { VhdxImage } from './vhdx-image.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** Of a new file: metadata at 2 MiB, the table of blocks at 3 MiB, then blocks in the order of their first write. */
const METADATA_AT = 2 * MIB;
const BAT_AT = 3 * MIB;
const ITEM_ENTRY = (index: number): number => METADATA_AT + 32 + index * 32;

async function newFile(type: NewVhdx['type'], spec: Partial<NewVhdx> = {}): Promise<MemoryStore> {
  const store = new MemoryStore();
  const paths = { relativePath: '.\\parent.vhdx', absolutePath: undefined };
  createVhdx(store, {
    type,
    virtualSizeBytes: 40 * MIB,
    blockSizeBytes: MIB,
    ...(type === 'differencing' ? { locator: locatorPairs(randomGuid(), ZERO_GUID, paths) } : {}),
    ...spec,
  });
  const image = VhdxImage.open(store);
  const parent = { sizeBytes: 40 * MIB, read: () => {}, segments: () => [] };
  if (type === 'differencing') image.setParent(parent);
  for (const block of [0, 1, 39]) image.write(block * MIB, new Uint8Array(4096).fill(block + 1), 0, 4096);
  if (type !== 'differencing') image.setUserItem('01234567-89ab-cdef-0123-456789abcdef', new Uint8Array(100).fill(1));
  await image.close();
  return store;
}

const bytesAt = (store: MemoryStore, at: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  store.read(at, bytes, 0, length);
  return bytes;
};
const put = (store: MemoryStore, at: number, bytes: ArrayLike<number>): void =>
  store.write(at, Uint8Array.from(bytes), 0, bytes.length);
const put32 = (store: MemoryStore, at: number, ...values: number[]): void =>
  put(store, at, new Uint8Array(Uint32Array.from(values).buffer));
const put64 = (store: MemoryStore, at: number, value: bigint): void =>
  put(store, at, new Uint8Array(BigUint64Array.of(value).buffer));
const entry = (state: number, mib: number): bigint => (BigInt(mib) << 20n) | BigInt(state);

/** Changes bytes of a structure and makes its checksum right again. */
function reseal(
  store: MemoryStore,
  at: number,
  length: number,
  change: (view: DataView, bytes: Uint8Array) => void,
): void {
  const bytes = bytesAt(store, at, length);
  const view = new DataView(bytes.buffer);
  change(view, bytes);
  view.setUint32(4, 0, true);
  view.setUint32(4, crc32c(bytes), true);
  store.write(at, bytes, 0, length);
}
const headers = (store: MemoryStore, change: (view: DataView, bytes: Uint8Array) => void): void => {
  for (const at of [64 * KIB, 128 * KIB]) reseal(store, at, 4 * KIB, change);
};
const regions = (store: MemoryStore, change: (view: DataView, bytes: Uint8Array) => void): void => {
  for (const at of [192 * KIB, 256 * KIB]) reseal(store, at, 64 * KIB, change);
};
/** Where the entry of a known item lies in the table, and where its bytes do. */
function itemAt(store: MemoryStore, itemId: string): { readonly entryAt: number; readonly at: number } {
  const { metadata, regions: of } = VhdxImage.open(store.clone(), { readOnly: true });
  const index = metadata.items.findIndex((item) => item.itemId === itemId);
  return { entryAt: ITEM_ENTRY(index), at: of.metadata.fileOffset + (metadata.items[index]?.offset ?? 0) };
}

interface Damage {
  readonly code: string;
  readonly type?: NewVhdx['type'];
  readonly severity?: 'warning' | 'info';
  readonly repair?: 'possible' | 'not-needed';
  readonly how?: string;
  damage(store: MemoryStore): void;
}

const DAMAGES: readonly Damage[] = [
  { code: 'file-signature', damage: (store) => put(store, 0, [0x78]) },
  {
    code: 'no-valid-header',
    damage: (store) => {
      put(store, 64 * KIB + 100, [1]);
      put(store, 128 * KIB + 100, [1]);
    },
  },
  {
    code: 'header-copy-damaged',
    severity: 'warning',
    repair: 'possible',
    how: 'the first',
    damage: (store) => put(store, 64 * KIB + 100, [1]),
  },
  {
    code: 'header-copy-damaged',
    severity: 'warning',
    repair: 'possible',
    how: 'the second',
    damage: (store) => put(store, 128 * KIB, [0]),
  },
  {
    code: 'headers-contradict',
    damage: (store) => {
      headers(store, (view) => view.setBigUint64(8, 5n, true));
      reseal(store, 64 * KIB, 4 * KIB, (_view, bytes) => writeGuid(bytes, 16, randomGuid()));
    },
  },
  { code: 'header-version', damage: (store) => headers(store, (view) => view.setUint16(66, 2, true)) },
  {
    code: 'log-version',
    damage: (store) =>
      headers(store, (view, bytes) => {
        writeGuid(bytes, 48, randomGuid());
        view.setUint16(64, 1, true);
      }),
  },
  { code: 'log-range', damage: (store) => headers(store, (view) => view.setBigUint64(72, 4096n, true)) },
  {
    code: 'log-beyond-end',
    repair: 'possible',
    damage: (store) => headers(store, (view) => view.setBigUint64(72, BigInt(roundedEnd(store)), true)),
  },
  {
    code: 'log-no-valid-sequence',
    damage: (store) => headers(store, (_view, bytes) => writeGuid(bytes, 48, randomGuid())),
  },
  {
    code: 'log-truncated-file',
    damage: (store) => {
      withLog(store);
      store.setSize(4 * MIB);
    },
  },
  {
    code: 'log-in-use',
    severity: 'warning',
    repair: 'possible',
    damage: (store) => withLog(store),
  },
  {
    code: 'no-valid-region-table',
    damage: (store) => {
      put(store, 192 * KIB + 9000, [1]);
      put(store, 256 * KIB + 9000, [1]);
    },
  },
  {
    code: 'region-table-copy-damaged',
    severity: 'warning',
    repair: 'possible',
    how: 'the first',
    damage: (store) => put(store, 192 * KIB, [0]),
  },
  {
    code: 'region-table-copy-damaged',
    severity: 'warning',
    repair: 'possible',
    how: 'the second',
    damage: (store) => put(store, 256 * KIB + 60_000, [1]),
  },
  {
    code: 'region-tables-differ',
    severity: 'warning',
    damage: (store) => reseal(store, 256 * KIB, 64 * KIB, (view) => view.setUint32(60_000, 1, true)),
  },
  { code: 'region-count', damage: (store) => regions(store, (view) => view.setUint32(8, 2048, true)) },
  { code: 'region-range', damage: (store) => regions(store, (view) => view.setBigUint64(32, 4096n, true)) },
  {
    code: 'region-overlap',
    damage: (store) => regions(store, (view) => view.setBigUint64(32, BigInt(METADATA_AT), true)),
  },
  {
    code: 'region-duplicate',
    damage: (store) =>
      regions(store, (view, bytes) => {
        bytes.copyWithin(80, 16, 48);
        view.setUint32(8, 3, true);
      }),
  },
  { code: 'region-missing', damage: (store) => regions(store, (view) => view.setUint32(8, 1, true)) },
  { code: 'region-unknown', damage: (store) => addRegion(store, 20, true) },
  { code: 'region-foreign', severity: 'info', repair: 'not-needed', damage: (store) => addRegion(store, 7, false) },
  { code: 'region-beyond-end', severity: 'warning', damage: (store) => addRegion(store, 7000, false) },
  { code: 'metadata-signature', damage: (store) => put(store, METADATA_AT, [0]) },
  { code: 'metadata-count', damage: (store) => put(store, METADATA_AT + 10, [0xff, 0xff]) },
  { code: 'metadata-item-range', damage: (store) => put32(store, ITEM_ENTRY(0) + 16, 100) },
  {
    code: 'metadata-item-overlap',
    damage: (store) => put(store, ITEM_ENTRY(1) + 16, bytesAt(store, ITEM_ENTRY(0) + 16, 4)),
  },
  {
    code: 'metadata-item-duplicate',
    damage: (store) => put(store, ITEM_ENTRY(1), bytesAt(store, ITEM_ENTRY(0), 16)),
  },
  {
    code: 'metadata-item-missing',
    damage: (store) => {
      put(store, ITEM_ENTRY(1), [1]);
      put32(store, ITEM_ENTRY(1) + 24, 2);
    },
  },
  { code: 'metadata-item-unknown', damage: (store) => put(store, ITEM_ENTRY(1), [1]) },
  { code: 'metadata-item-size', damage: (store) => put32(store, itemAt(store, ITEM.virtualDiskId).entryAt + 20, 8) },
  {
    code: 'metadata-item-flags',
    severity: 'warning',
    damage: (store) => put32(store, itemAt(store, ITEM.virtualDiskSize).entryAt + 24, 4),
  },
  { code: 'metadata-reserved', severity: 'warning', damage: (store) => put32(store, ITEM_ENTRY(0) + 28, 1) },
  { code: 'block-size', damage: (store) => put32(store, itemAt(store, ITEM.fileParameters).at, 3 * MIB) },
  { code: 'disk-size', damage: (store) => put64(store, itemAt(store, ITEM.virtualDiskSize).at, 1000n) },
  { code: 'sector-size', damage: (store) => put32(store, itemAt(store, ITEM.logicalSectorSize).at, 1024) },
  {
    code: 'virtual-disk-id-zero',
    severity: 'warning',
    damage: (store) => put(store, itemAt(store, ITEM.virtualDiskId).at, new Uint8Array(16)),
  },
  {
    code: 'incomplete-file',
    damage: (store) => {
      const guid = new Uint8Array(16);
      writeGuid(guid, 0, ITEM.incompleteFile);
      put(store, ITEM_ENTRY(5), guid);
      put32(store, ITEM_ENTRY(5) + 24, 0);
    },
  },
  {
    code: 'locator-missing',
    how: 'a child without one',
    damage: (store) => put32(store, itemAt(store, ITEM.fileParameters).at + 4, 2),
  },
  {
    code: 'locator-unexpected',
    type: 'differencing',
    severity: 'warning',
    damage: (store) => {
      put32(store, itemAt(store, ITEM.fileParameters).at + 4, 0);
      store.write(BAT_AT, new Uint8Array(MIB), 0, MIB);
    },
  },
  {
    code: 'locator-kind',
    type: 'differencing',
    damage: (store) => put(store, itemAt(store, ITEM.parentLocator).at, [1]),
  },
  {
    code: 'locator-range',
    type: 'differencing',
    damage: (store) => put(store, itemAt(store, ITEM.parentLocator).at + 18, [0xff, 0xff]),
  },
  {
    code: 'locator-duplicate',
    type: 'differencing',
    damage: (store) => {
      const { at } = itemAt(store, ITEM.parentLocator);
      put(store, at + 20 + 12, bytesAt(store, at + 20, 12));
    },
  },
  {
    code: 'locator-linkage',
    type: 'differencing',
    damage: (store) => {
      const { at } = itemAt(store, ITEM.parentLocator);
      const valueAt = new DataView(bytesAt(store, at + 24, 4).buffer).getUint32(0, true);
      put(store, at + valueAt, [0x78, 0x78]);
    },
  },
  {
    code: 'locator-no-path',
    type: 'differencing',
    damage: (store) => {
      // The one path's key becomes another word.
      const { at } = itemAt(store, ITEM.parentLocator);
      const keyAt = new DataView(bytesAt(store, at + 32, 4).buffer).getUint32(0, true);
      put(store, at + keyAt, [0x78, 0]);
    },
  },
  {
    code: 'bat-too-short',
    damage: (store) => put64(store, itemAt(store, ITEM.virtualDiskSize).at, BigInt(2 ** 40)),
  },
  { code: 'bat-entry-state', how: 'state 5', damage: (store) => put64(store, BAT_AT, entry(5, 4)) },
  {
    code: 'bat-entry-state',
    how: 'partly present without a parent',
    damage: (store) => put64(store, BAT_AT, entry(7, 4)),
  },
  {
    code: 'bat-entry-reserved',
    repair: 'possible',
    damage: (store) => put(store, BAT_AT + 1, [(bytesAt(store, BAT_AT + 1, 1)[0] ?? 0) | 2]),
  },
  { code: 'bat-entry-offset', damage: (store) => put64(store, BAT_AT, entry(6, 0)) },
  { code: 'bat-entry-beyond-end', damage: (store) => put64(store, BAT_AT + 16, entry(6, 5000)) },
  { code: 'bat-entry-overlap', how: 'another block', damage: (store) => put64(store, BAT_AT + 16, entry(6, 4)) },
  { code: 'bat-entry-overlap', how: 'the log', damage: (store) => put64(store, BAT_AT + 16, entry(6, 1)) },
  {
    code: 'bitmap-missing',
    type: 'differencing',
    damage: (store) => put64(store, BAT_AT + 4096 * 8, 0n),
  },
  {
    code: 'bat-behind-table',
    severity: 'info',
    repair: 'not-needed',
    damage: (store) => put64(store, BAT_AT + 5000 * 8, entry(6, 4)),
  },
  {
    code: 'file-end-unaligned',
    severity: 'info',
    repair: 'not-needed',
    damage: (store) => store.setSize(roundedEnd(store) + 5000),
  },
  {
    code: 'space-leaked',
    severity: 'info',
    repair: 'not-needed',
    damage: (store) => store.setSize(roundedEnd(store) + 3 * MIB),
  },
];

function roundedEnd(store: MemoryStore): number {
  return Math.ceil(store.size() / MIB) * MIB;
}

/** As a process leaves it that dies: the log holds a block's entry, in whose place there is another. */
function withLog(store: MemoryStore): void {
  const image = VhdxImage.open(store);
  image.write(20 * MIB, new Uint8Array(4096).fill(21), 0, 4096);
  image.flushSync();
  image.write(21 * MIB, new Uint8Array(4096).fill(22), 0, 4096);
}

function addRegion(store: MemoryStore, atMib: number, isRequired: boolean): void {
  regions(store, (view, bytes) => {
    writeGuid(bytes, 80, randomGuid());
    view.setBigUint64(96, BigInt(atMib * MIB), true);
    view.setUint32(104, MIB, true);
    view.setUint32(108, isRequired ? 1 : 0, true);
    view.setUint32(8, 3, true);
  });
  if (atMib < 100) store.setSize(Math.max(store.size(), (atMib + 1) * MIB));
}

const codesOf = (result: CheckResult): string[] => result.findings.map(({ code }) => code);

describe('a sound file', () => {
  test.each(['dynamic', 'fixed', 'differencing'] as const)('of a %s disk has no finding', async (type) => {
    for (const logicalSectorSizeBytes of [512, 4096]) {
      const store = await newFile(type, { logicalSectorSizeBytes });
      const before = store.clone();
      expect(await checkVhdx(store, { repair: true })).toEqual({ findings: [], moreFindings: 0, repaired: [] });
      expect(Buffer.compare(bytesAt(store, 0, 4 * MIB), bytesAt(before, 0, 4 * MIB))).toBe(0);
    }
  });
});

describe('each rule that a file can break', () => {
  test.each(DAMAGES)('$code $how', async ({ code, type, severity, repair, damage }) => {
    const store = await newFile(type ?? 'dynamic');
    damage(store);
    const damaged = store.clone();
    const result = await checkVhdx(store);
    const found = result.findings.find((each) => each.code === code);
    expect(codesOf(result)).toContain(code);
    expect(found).toMatchObject({
      severity: severity ?? 'error',
      repair: repair ?? 'impossible',
      message: expect.stringMatching(/^\w.*[^.]$/),
    });
    expect(isSound(result)).toBe(
      severity === 'info' && codesOf(result).every((each) => each === code || each === 'space-leaked'),
    );

    const repaired = await checkVhdx(store, { repair: true });
    expect(repaired.repaired.some((each) => each.code === code)).toBe(repair === 'possible');
    if (repair === 'possible') {
      expect(isSound(repaired)).toBe(true);
      expect(codesOf(await checkVhdx(store)).filter((each) => each !== 'space-leaked')).toEqual([]);
      const image = VhdxImage.open(store, { readOnly: true });
      expect(readFirst(image, 0)).toBe(1);
      expect(readFirst(image, 39 * MIB)).toBe(40);
      if (code === 'log-in-use') expect(readFirst(image, 21 * MIB)).toBe(22);
    } else if (!repaired.findings.some((each) => each.repair === 'possible')) {
      // What cannot be repaired is not touched.
      expect(store.size()).toBe(damaged.size());
      expect(Buffer.compare(bytesAt(store, 0, 4 * MIB), bytesAt(damaged, 0, 4 * MIB))).toBe(0);
    }
  });

  test('has a damaged file of its own here, but for what only a whole sequence of writes brings about', () => {
    const codes = new Set(DAMAGES.map(({ code }) => code));
    const known = [...Object.keys(REASONS), ...Object.keys(NOTES)].filter((code) => !codes.has(code));
    // A number of 64 bits at its end; places that a log would have to hold; the word for all that a damage hides.
    expect(known.sort()).toEqual(['check-incomplete', 'header-sequence', 'log-descriptor-range']);
  });

  test('a log that cannot be replayed hides what lies behind it, and the check says so', async () => {
    const store = await newFile('dynamic');
    headers(store, (_view, bytes) => writeGuid(bytes, 48, randomGuid()));
    expect(codesOf(await checkVhdx(store))).toEqual(['log-no-valid-sequence', 'check-incomplete']);
  });

  test('a table of nothing but damage gives a bounded list', async () => {
    const store = await newFile('dynamic', { virtualSizeBytes: 2 ** 40 });
    const bytes = new Uint8Array(8 * MIB).fill(0xff);
    store.write(BAT_AT, bytes, 0, bytes.length);
    const result = await checkVhdx(store);
    expect(result.findings.length).toBe(1000);
    expect(result.moreFindings).toBeGreaterThan(1_000_000);
    expect(isSound(result)).toBe(false);
  });

  test('a check can be aborted', async () => {
    const store = await newFile('dynamic');
    await expect(checkVhdx(store, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' });
  });
});

function readFirst(image: VhdxImage, offset: number): number | undefined {
  const bytes = new Uint8Array(512);
  image.read(offset, bytes, 0, 512);
  return bytes[0];
}

describe('a repair that is cut short', () => {
  test('leaves at every moment a file that opens and holds what it held', async () => {
    const damaged = await newFile('dynamic');
    withLog(damaged);
    put(damaged, 256 * KIB + 60_000, [1]);
    const copy = VhdxImage.open(damaged.clone(), { readOnly: true }).header.sequenceNumber % 2n === 0n ? 64 : 128;
    put(damaged, copy * KIB + 200, [1]);
    const store = new FaultStore(damaged);
    const result = await checkVhdx(store, { repair: true });
    expect(codesOf(result).sort()).toEqual(['header-copy-damaged', 'log-in-use', 'region-table-copy-damaged']);
    expect(isSound(result)).toBe(true);
    const random = seededRandom(1);
    const replay = store.replayer();
    for (let events = 0; events <= store.events.length; events++) {
      replay.advance(events);
      for (const content of [replay.content(), replay.afterPowerCut(random)]) {
        const image = VhdxImage.open(content.clone(), { readOnly: true });
        const blocks = [0, 39, 20, 21].map((block) => readFirst(image, block * MIB));
        expect(blocks, `after event ${events}`).toEqual([1, 40, 21, 22]);
        expect(isSound(await checkVhdx(content, { repair: true })), `after event ${events}`).toBe(true);
      }
    }
  });
});

describe('any bytes', () => {
  test('give findings or an error of hv, and what a check calls sound can be opened', async () => {
    const random = seededRandom(3);
    const bases = await Promise.all((['dynamic', 'fixed', 'differencing'] as const).map((type) => newFile(type)));
    // Where structures lie, changes hit more often.
    const places = [0, 64 * KIB, 128 * KIB, 192 * KIB, 256 * KIB, MIB, METADATA_AT, METADATA_AT + 64 * KIB, BAT_AT];
    let sound = 0;
    for (let round = 0; round < 400; round++) {
      const store = bases[round % bases.length]?.clone() ?? new MemoryStore();
      if (random() < 0.3) withLogOf(store);
      const count = 1 + Math.floor(random() * 4);
      const touched: (() => void)[] = [];
      for (let change = 0; change < count; change++) {
        const at =
          (places[Math.floor(random() * places.length)] ?? 0) + Math.floor(random() * (random() < 0.8 ? 200 : 70_000));
        touched.push(() => put(store, at, [Math.floor(random() * 256), Math.floor(random() * 256)]));
      }
      // Half of the time with checksums that hold.
      const isSealed = random() < 0.5;
      for (const touch of touched) touch();
      if (isSealed) {
        headers(store, () => {});
        regions(store, () => {});
      }
      if (random() < 0.1) store.setSize(Math.floor(random() * store.size()));
      try {
        const result = await checkVhdx(store, { repair: random() < 0.5 });
        if (!result.findings.some(({ severity }) => severity === 'error')) {
          sound++;
          VhdxImage.open(store.clone(), { readOnly: true });
        }
      } catch (error) {
        if (!isHvError(error)) throw error;
        expect(error.code, `round ${round}`).not.toBe('internal');
        if (error.code === 'corrupt') throw new Error(`round ${round}: ${JSON.stringify(error.detail)}`);
      }
    }
    expect(sound).toBeGreaterThan(20);
  });
});

function withLogOf(store: MemoryStore): void {
  const image = VhdxImage.open(store);
  image.setParent({ sizeBytes: 40 * MIB, read: () => {}, segments: () => [] });
  image.write(20 * MIB, new Uint8Array(4096).fill(21), 0, 4096);
  image.flushSync();
}
