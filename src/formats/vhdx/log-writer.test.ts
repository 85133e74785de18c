import { expect, test } from 'vitest';
import { randomGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import { MemoryStore } from '../../store/index.ts';
import type { VhdxHeader } from './format.ts';
import { replayLog } from './log-reader.ts';
import { LogWriter } from './log-writer.ts';
import { ReplayOverlay } from './replay-targets.ts';

const MIB = 1024 * 1024;
const PLACE = { offset: MIB, length: MIB };
const SIZES = { flushedSizeBytes: 0, sizeBytes: 8 * MIB };

function logged(value: number, fileOffset = 3 * MIB): { fileOffset: number; bytes: Uint8Array } {
  return { fileOffset, bytes: new Uint8Array(4096).fill(value) };
}

function replayed(store: MemoryStore, guid: string, hostRun?: string): number {
  const header: VhdxHeader = {
    sequenceNumber: 1n,
    fileWriteGuid: guid,
    dataWriteGuid: guid,
    logGuid: guid,
    logVersion: 0,
    version: 1,
    logLength: MIB,
    logOffset: MIB,
  };
  const overlay = new ReplayOverlay(store);
  replayLog(store, header, overlay, { inMemory: true, hostRun });
  const bytes = new Uint8Array(4096);
  overlay.read(3 * MIB, bytes, 0, 4096);
  return bytes.every((byte) => byte === bytes[0]) ? (bytes[0] ?? -1) : -1;
}

test('what was logged last is replayed, also when entries wrap around the end of the log', () => {
  const store = new MemoryStore();
  const guid = randomGuid();
  const log = new LogWriter(store, { ...PLACE, guid, hostRun: undefined });
  log.append([], SIZES);
  for (let round = 1; round <= 1000; round++) {
    const sectors = Array.from({ length: 1 + (round % 7) }, (_, index) => logged(round % 251, 3 * MIB + index * 4096));
    if (!log.fits(sectors.length)) throw new Error('the log should have room');
    log.append(sectors, SIZES);
    expect(replayed(store, guid)).toBe(round % 251);
    if (round % 5 === 0) {
      log.noteDurable(log.lastSequence);
      log.noteApplied(log.lastSequence + 1);
    }
  }
});

test('space in the ring is free only once an entry that leaves it behind is durable', () => {
  const log = new LogWriter(new MemoryStore(), { ...PLACE, guid: randomGuid(), hostRun: undefined });
  for (let index = 0; index < 10; index++) log.append([logged(index)], SIZES);
  const full = log.fullness;
  log.noteDurable(10);
  log.noteApplied(11);
  expect(log.fullness).toBe(full);
  log.append([], SIZES);
  expect(log.fullness).toBeGreaterThan(full);
  log.noteDurable(11);
  expect(log.fullness).toBeLessThan(full / 10);
});

test('an unsynced entry counts for its own run of the host until it is promoted, then for everybody', () => {
  const store = new MemoryStore();
  const guid = randomGuid();
  const hostRun = randomGuid();
  const log = new LogWriter(store, { ...PLACE, guid, hostRun });
  log.append([logged(1)], SIZES);
  log.append([logged(2)], SIZES, true);
  log.append([logged(3)], SIZES, true);
  expect(replayed(store, guid, hostRun)).toBe(3);
  expect(replayed(store, guid, randomGuid())).toBe(1);
  expect(replayed(store, guid)).toBe(1);
  expect(log.promote(2)).toBe(true);
  expect(replayed(store, guid)).toBe(2);
  expect(replayed(store, guid, hostRun)).toBe(3);
  expect(log.promote(3)).toBe(true);
  expect(replayed(store, guid)).toBe(3);
  expect(log.promote(3)).toBe(false);
});

test('any damaged byte of the newest entry makes the one before it the newest', () => {
  const store = new MemoryStore();
  const guid = randomGuid();
  const log = new LogWriter(store, { ...PLACE, guid, hostRun: undefined });
  log.append([logged(1)], SIZES);
  log.append([logged(2)], SIZES);
  for (let at = 0; at < 8192; at += 61) {
    const damaged = store.clone();
    const byte = new Uint8Array(1);
    damaged.read(MIB + 8192 + at, byte, 0, 1);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    damaged.write(MIB + 8192 + at, byte, 0, 1);
    expect(replayed(damaged, guid)).toBe(1);
  }
});

test('a log in use without a complete sequence is refused', () => {
  try {
    replayed(new MemoryStore(new Uint8Array(4 * MIB)), randomGuid());
    expect.unreachable();
  } catch (error) {
    expect(error instanceof HvError && error.detail.reason).toBe('log-no-valid-sequence');
  }
});
