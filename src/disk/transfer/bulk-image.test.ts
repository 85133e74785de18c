import { describe, expect, it } from 'vitest';
import type { DiskImage } from '../../formats/disk-image.ts';
import { checkVhd, VhdImage } from '../../formats/vhd/index.ts';
import { checkVhdx, VhdxImage } from '../../formats/vhdx/index.ts';
import type { MemoryStore } from '../../store/index.ts';
import { FaultStore, seededRandom } from '../../store/testing/fault-store.ts';
import type { NewImage } from '../create-file.ts';
import { startImage } from './bulk-image.ts';

const MIB = 2 ** 20;
const PIECE_BYTES = 4096;

const SHAPES: readonly (readonly [string, NewImage & { readonly format: 'vhd' | 'vhdx' }])[] = [
  ['a dynamic VHDX', { format: 'vhdx', spec: { type: 'dynamic', virtualSizeBytes: 40 * MIB, blockSizeBytes: MIB } }],
  [
    'a VHDX of several chunks',
    { format: 'vhdx', spec: { type: 'dynamic', virtualSizeBytes: 2 ** 40, blockSizeBytes: 256 * MIB } },
  ],
  ['a fixed VHDX', { format: 'vhdx', spec: { type: 'fixed', virtualSizeBytes: 5 * MIB } }],
  ['a dynamic VHD', { format: 'vhd', spec: { type: 'dynamic', virtualSizeBytes: 41 * MIB + 512 } }],
  ['a fixed VHD', { format: 'vhd', spec: { type: 'fixed', virtualSizeBytes: 5 * MIB } }],
];

function open(store: MemoryStore, format: 'vhd' | 'vhdx'): DiskImage {
  return format === 'vhd' ? VhdImage.open(store, { readOnly: true }) : VhdxImage.open(store, { readOnly: true });
}

describe.each(SHAPES)('%s that is filled in one pass', (_what, image) => {
  const { virtualSizeBytes } = image.spec;
  const random = seededRandom(7);
  const pieces = new Map<number, number>();
  for (let value = 1; value <= 60; value++) {
    pieces.set(Math.floor((random() * (virtualSizeBytes - PIECE_BYTES)) / PIECE_BYTES) * PIECE_BYTES, value);
  }

  function filled(): FaultStore {
    const store = new FaultStore();
    const target = startImage(store, image);
    // In no order: blocks get their places as they come.
    for (const [offset, value] of pieces) {
      const { fileOffset, length } = target.place(offset, PIECE_BYTES);
      expect(length).toBe(PIECE_BYTES);
      store.write(fileOffset, new Uint8Array(PIECE_BYTES).fill(value), 0, length);
    }
    target.finish();
    store.flushSync();
    return store;
  }

  function mustHold(content: MemoryStore): void {
    const disk = open(content, image.format);
    const bytes = new Uint8Array(PIECE_BYTES);
    for (const [offset, value] of pieces) {
      disk.read(offset, bytes, 0, PIECE_BYTES);
      expect(bytes.every((byte) => byte === value)).toBe(true);
    }
    const held = [...disk.segments(0, virtualSizeBytes)].filter(({ kind }) => kind === 'data');
    const first = Math.min(...pieces.keys());
    expect(held[0]?.offset).toBeLessThanOrEqual(first);
    disk.read(first + PIECE_BYTES, bytes, 0, PIECE_BYTES);
    if (!pieces.has(first + PIECE_BYTES)) expect(bytes.every((byte) => byte === 0)).toBe(true);
  }

  it('holds what was put into it and zeros elsewhere, and no rule of its format is broken', async () => {
    const content = filled().content();
    mustHold(content);
    const { findings } = await (image.format === 'vhd' ? checkVhd(content) : checkVhdx(content));
    expect(findings.filter(({ severity }) => severity !== 'info')).toEqual([]);
  });

  it('is whole after a power cut once it was flushed', () => {
    const store = filled();
    const replay = store.replayer();
    replay.advance(store.events.length);
    mustHold(replay.afterPowerCut(seededRandom(1)));
  });
});
