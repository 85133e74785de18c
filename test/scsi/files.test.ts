import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { executeScsi } from '../../src/protocols/scsi/index.ts';
import { temporaryFolder } from '../cli/temporary-folder.ts';
import { rangeCdb, senseOf } from './target.ts';

let folder: Awaited<ReturnType<typeof temporaryFolder>>;
beforeEach(async () => {
  folder = await temporaryFolder();
});
afterEach(() => folder[Symbol.asyncDispose]());

const at = (name: string): string => join(folder.path, name);
const send = (name: string, cdb: string, dataOut?: Uint8Array): ReturnType<typeof executeScsi> =>
  executeScsi(at(name), Buffer.from(cdb.replaceAll(' ', ''), 'hex'), { dataOut });

it('speaks for a disk of 4096-byte sectors in its sectors', async () => {
  await createVhd(at('d.vhdx'), { sizeBytes: 2 ** 26, logicalSectorSizeBytes: 4096, physicalSectorSizeBytes: 4096 });
  const capacity = Buffer.from((await send('d.vhdx', '9e10 0000000000000000 00000020 0000')).dataIn);
  expect(capacity.toString('hex', 0, 14)).toBe('0000000000003fff000010000000');
  const block = Buffer.alloc(4096, 'four');
  expect(senseOf(await send('d.vhdx', rangeCdb(0x8a, 0x3fff, 1), block))).toBeUndefined();
  expect(Buffer.from((await send('d.vhdx', rangeCdb(0x28, 0x3fff, 1))).dataIn).equals(block)).toBe(true);
  expect(senseOf(await send('d.vhdx', rangeCdb(0x28, 0x4000, 1)))).toBe('5/21/00');
});

it('is thin where the file grows, not where it is fixed', async () => {
  await createVhd(at('grows.vhdx'), { sizeBytes: 2 ** 24 });
  await createVhd(at('fixed.vhdx'), { type: 'fixed', sizeBytes: 2 ** 24 });
  for (const [name, lbpme] of [
    ['grows.vhdx', 0xc0],
    ['fixed.vhdx', 0],
  ] as const) {
    // biome-ignore format: a table
    expect((await send(name, '9e10 0000000000000000 00000020 0000')).dataIn[14]).toBe(lbpme);
  }
  expect(senseOf(await send('fixed.vhdx', '42 00 0000000000 0018 00', Buffer.alloc(24)))).toBe('5/20/00');
});

it('gives blocks back through UNMAP, and a child keeps its zeros over its parent', async () => {
  await createVhd(at('base.vhdx'), { sizeBytes: 2 ** 24, blockSizeBytes: 2 ** 20 });
  const data = Buffer.alloc(2 ** 20, 7);
  await send('base.vhdx', rangeCdb(0x2a, 2048, 2048), data);
  await createVhd(at('child.vhdx'), { parentPath: at('base.vhdx') });
  expect(Buffer.from((await send('child.vhdx', rangeCdb(0x28, 2048, 2048))).dataIn).equals(data)).toBe(true);
  expect(senseOf(await send('child.vhdx', rangeCdb(0x93, 2048, 2048, 0x09)))).toBeUndefined();
  expect((await send('child.vhdx', rangeCdb(0x28, 2048, 2048))).dataIn.every((byte) => byte === 0)).toBe(true);
  expect(Buffer.from((await send('base.vhdx', rangeCdb(0x28, 2048, 2048))).dataIn).equals(data)).toBe(true);
});

it('tells disks apart by their ids', async () => {
  for (const name of ['a.vhdx', 'b.vhdx', 'c.raw', 'd.raw']) await createVhd(at(name), { sizeBytes: 2 ** 22 });
  const serials = await Promise.all(
    ['a.vhdx', 'b.vhdx', 'c.raw', 'd.raw'].map(async (name) =>
      Buffer.from((await send(name, '12 01 80 00 ff 00')).dataIn).toString('latin1', 4),
    ),
  );
  expect(new Set(serials).size).toBe(4);
  expect(serials.every((serial) => /^[0-9a-f]{32}$/.test(serial))).toBe(true);
});
