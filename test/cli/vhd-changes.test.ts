import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd, openChain } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

const MIB = 2 ** 20;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const double = new HostDouble();
beforeEach(async () => {
  folder = await temporaryFolder();
  await createVhd(at('disk.vhdx'), { sizeBytes: 64 * MIB, blockSizeBytes: MIB });
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const hv = (...words: string[]): Promise<Ran> => run(['vhd', ...words], { double });
async function json(...words: string[]): Promise<Record<string, unknown>> {
  const { status, stdout, stderr } = await hv(...words, '--json');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return JSON.parse(stdout);
}

async function write(...offsets: number[]): Promise<void> {
  await using disk = openChain(at('disk.vhdx'));
  for (const offset of offsets) disk.write(offset, new Uint8Array(4096).fill(7), 0, 4096);
}

it('tracks a disk, lists its changes with a new id, and ends tracking', async () => {
  expect((await hv('tracking', 'enable', at('disk.vhdx'), '--dry-run')).stdout).toBe(
    `Would track ${at('disk.vhdx')}.\n`,
  );
  expect(existsSync(at('disk.vhdx.rct'))).toBe(false);
  const { mostRecentId } = await json('tracking', 'enable', at('disk.vhdx'));
  await write(MIB);
  expect(await json('tracking', 'status', at('disk.vhdx'))).toEqual({
    path: at('disk.vhdx'),
    enabled: true,
    newerChanges: true,
    mostRecentId,
  });
  const peek = await hv('changes', at('disk.vhdx'), '--since', String(mostRecentId), '--peek');
  expect(peek.stdout).toBe('1048576 65536\n1 range, 64 KiB\n');
  const answer = await json('changes', at('disk.vhdx'), '--since', String(mostRecentId));
  expect(answer).toMatchObject({ ranges: [{ offsetBytes: MIB, lengthBytes: 65536 }], changedBytes: 65536 });
  expect(await json('tracking', 'status', at('disk.vhdx'))).toMatchObject({
    newerChanges: false,
    mostRecentId: answer.referencePointId,
  });
  expect(await json('tracking', 'disable', at('disk.vhdx'))).toMatchObject({ enabled: false });
  expect(existsSync(at('disk.vhdx.rct'))).toBe(false);
  const off = await hv('changes', at('disk.vhdx'), '--since', String(mostRecentId));
  expect(off).toMatchObject({ status: 4, stdout: '' });
  expect((await hv('changes', at('disk.vhdx'))).status).toBe(2);
});

it('backs a disk up, then only what changed, and keeps targets apart', async () => {
  await json('tracking', 'enable', at('disk.vhdx'));
  await write(0, 5 * MIB);
  expect(await json('backup', at('disk.vhdx'), at('copy.raw'), '--dry-run')).toMatchObject({ copiedBytes: 2 * MIB });
  expect(existsSync(at('copy.raw'))).toBe(false);
  const full = await json('backup', at('disk.vhdx'), at('copy.raw'));
  expect(full).toMatchObject({ kind: 'full', copiedBytes: 2 * MIB });
  await write(9 * MIB);
  const next = await json('backup', at('disk.vhdx'), at('copy.raw'), '--since', String(full.changeTrackingId));
  expect(next).toMatchObject({ kind: 'incremental', copiedBytes: 65536 });
  const bytes = readFileSync(at('copy.raw'));
  const written = [0, 5 * MIB, 9 * MIB].every((offset) => bytes[offset] === 7 && bytes[offset + 4096] === 0);
  expect({ length: bytes.length, written }).toEqual({ length: 64 * MIB, written: true });
  expect((await hv('backup', at('disk.vhdx'), at('copy.raw'))).status).toBe(4);
  const stale = await hv('backup', at('disk.vhdx'), at('copy.raw'), '--since', String(full.changeTrackingId), '--json');
  expect(JSON.parse(stale.stderr)).toMatchObject({
    error: { code: 'invalid-state', detail: { reason: 'target-mismatch' } },
  });
  const none = await hv('backup', at('disk.vhdx'), at('other.raw'), '--since', String(full.changeTrackingId));
  expect(none.status).toBe(3);
});
