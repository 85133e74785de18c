import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createVhd, openVhd } from '../../src/disk/index.ts';
import { HostDouble } from './host-double.ts';
import { run } from './in-process.ts';
import { temporaryFolder } from './temporary-folder.ts';

const MIB = 2 ** 20;

/** A base that holds one piece, a child that holds another, and a raw file of what the child reads as. */
async function disks(folder: string): Promise<{ base: string; child: string; raw: string; contents: Buffer }> {
  const base = join(folder, 'base.vhdx');
  const child = join(folder, 'child.vhdx');
  const raw = join(folder, 'plain.raw');
  const contents = Buffer.alloc(8 * MIB);
  const write = async (path: string, offset: number, byte: number): Promise<void> => {
    await using disk = await openVhd(path);
    const bytes = Buffer.alloc(4096, byte);
    disk.write(offset, bytes, 0, bytes.length);
    contents.set(bytes, offset);
  };
  await createVhd(base, { sizeBytes: contents.length, blockSizeBytes: MIB });
  await write(base, MIB, 1);
  await createVhd(child, { parentPath: base });
  await write(child, 4 * MIB, 2);
  await writeFile(raw, contents);
  return { base, child, raw, contents };
}

describe('vhd convert', () => {
  it('says what it made, and with --dry-run what it would make', async () => {
    await using folder = await temporaryFolder();
    const { child } = await disks(folder.path);
    const double = new HostDouble();
    const target = join(folder.path, 'flat.vhd');
    const planned = await run(['vhd', 'convert', child, target, '--dry-run', '--json'], { double });
    expect(JSON.parse(planned.stdout)).toMatchObject({
      dryRun: true,
      format: 'vhd',
      type: 'dynamic',
      fileSizeBytes: 0,
    });
    const made = await run(['vhd', 'convert', child, target, '--json'], { double });
    expect(made.status).toBe(0);
    expect(JSON.parse(made.stdout)).toMatchObject({
      sourcePath: child,
      sourceFormat: 'vhdx',
      path: target,
      format: 'vhd',
      type: 'dynamic',
      virtualSizeBytes: 8 * MIB,
    });
    expect((await run(['vhd', 'compare', child, target], { double })).status).toBe(0);
    expect(await run(['vhd', 'convert', child, target], { double })).toMatchObject({ status: 4, stdout: '' });
    const fixed = await run(['vhd', 'convert', child, join(folder.path, 'f.vhdx'), '--type', 'fixed'], { double });
    expect(fixed.stdout).toContain('fixed vhdx, 8 MiB');
  });

  it('makes a differencing disk on a parent, and refuses what cannot be', async () => {
    await using folder = await temporaryFolder();
    const { base, raw } = await disks(folder.path);
    const double = new HostDouble();
    const target = join(folder.path, 'new.vhdx');
    const made = await run(['vhd', 'convert', raw, target, '--parent', base, '--json'], { double });
    expect(JSON.parse(made.stdout)).toMatchObject({ type: 'differencing', copiedBytes: 4096 });
    expect((await run(['vhd', 'compare', raw, target], { double })).status).toBe(0);
    for (const [words, status] of [
      [['nothing.vhdx', 'x.vhdx'], 3],
      [[raw, 'x.raw', '--type', 'differencing', '--parent', base], 5],
      [[raw, 'x.vhdx', '--type', 'differencing'], 2],
      [[raw, 'x.unknown'], 5],
      [[raw, 'x.vhdx', '--format', 'nonsense'], 2],
      [[raw, 'x.vhdx', '--block-size', '3M'], 2],
      [[raw, 'x.vhdx', '--size', '4M'], 2],
      [[raw, 'x.vhd', '--logical-sector-size', '4096'], 2],
      [[raw], 2],
    ] as const) {
      const paths = words.map((word) => (word.startsWith('x.') ? join(folder.path, word) : word));
      expect(await run(['vhd', 'convert', ...paths], { double })).toMatchObject({ status, stdout: '' });
    }
  });
});

describe('vhd create --from', () => {
  it('makes a disk with the contents of another', async () => {
    await using folder = await temporaryFolder();
    const { base, raw } = await disks(folder.path);
    const double = new HostDouble();
    const copy = join(folder.path, 'copy.vhdx');
    const id = '01234567-89ab-cdef-0123-456789abcdef';
    const made = await run(['vhd', 'create', copy, '--from', raw, '--id', id, '--size', '16M', '--json'], { double });
    expect(JSON.parse(made.stdout)).toMatchObject({ type: 'dynamic', virtualSizeBytes: 16 * MIB, identifier: id });
    expect((await run(['vhd', 'compare', raw, copy], { double })).status).toBe(0);
    const child = join(folder.path, 'from.vhdx');
    await run(['vhd', 'create', child, '--type', 'differencing', '--parent', base, '--from', raw], { double });
    expect((await run(['vhd', 'compare', raw, child], { double })).status).toBe(0);
    const sectors = join(folder.path, '4k.vhdx');
    const words = ['--size', '8M', '--logical-sector-size', '4096', '--physical-sector-size', '4096'];
    const other = await run(['vhd', 'create', sectors, ...words, '--json'], { double });
    expect(JSON.parse(other.stdout)).toMatchObject({ logicalSectorSizeBytes: 4096, physicalSectorSizeBytes: 4096 });
  });
});

describe('vhd compare', () => {
  it('answers with its status and with the first difference', async () => {
    await using folder = await temporaryFolder();
    const { base, child, raw } = await disks(folder.path);
    const double = new HostDouble();
    const same = await run(['vhd', 'compare', child, raw], { double });
    expect(same).toMatchObject({ status: 0, stdout: 'The disks hold the same.\n' });
    const other = await run(['vhd', 'compare', base, raw, '--json'], { double });
    expect(other.status).toBe(10);
    expect(JSON.parse(other.stdout)).toMatchObject({ equal: false, firstDifferenceBytes: 4 * MIB });
    const shown = await run(['vhd', 'compare', base, raw], { double });
    expect(shown.stdout).toBe(`The disks differ, first at byte ${4 * MIB}.\n`);
    const sizes = await run(['vhd', 'compare', base, raw, '--first-format', 'raw'], { double });
    expect(sizes.status).toBe(10);
    expect(sizes.stdout).toContain('Their sizes differ');
  });
});

describe('vhd map', () => {
  it('shows the extents as JSON, as lines, and as a table on a terminal', async () => {
    await using folder = await temporaryFolder();
    const { base, child } = await disks(folder.path);
    const double = new HostDouble();
    const json = JSON.parse((await run(['vhd', 'map', child, '--json'], { double })).stdout);
    expect(json.map(({ kind }: { kind: string }) => kind)).toEqual([
      'unmapped',
      'parent',
      'unmapped',
      'data',
      'unmapped',
    ]);
    expect(json[1]).toMatchObject({ offsetBytes: MIB, lengthBytes: MIB, depth: 1, path: base });
    expect(json[3]).toMatchObject({ offsetBytes: 4 * MIB, lengthBytes: 4096, depth: 0, path: child });
    const lines = await run(['vhd', 'map', child, '--offset', '4M', '--length', '4096'], { double });
    expect(lines.stdout).toBe(`${4 * MIB}\t4096\tdata\t0\t${json[3].fileOffsetBytes}\t${child}\n`);
    const table = await run(['vhd', 'map', child], { double, terminal: true });
    expect(table.stdout).toMatch(/Offset +Length +Kind/);
    expect((await run(['vhd', 'map', child, '--offset', '9M'], { double })).status).toBe(2);
  });
});

describe('vhd hash', () => {
  it('is that of a raw copy', async () => {
    await using folder = await temporaryFolder();
    const { child, contents } = await disks(folder.path);
    const double = new HostDouble();
    const expected = createHash('sha256').update(contents).digest('hex');
    expect((await run(['vhd', 'hash', child], { double })).stdout).toBe(`${expected}  ${child}\n`);
    const json = JSON.parse((await run(['vhd', 'hash', child, '--json'], { double })).stdout);
    expect(json).toMatchObject({ algorithm: 'sha256', hash: expected, virtualSizeBytes: contents.length });
  });
});
