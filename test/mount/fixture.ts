import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createVhd, openVhd } from '../../src/disk/index.ts';
import { openQemuHost } from '../../src/engines/qemu/index.ts';
import { encodeGpt, GPT_TYPE } from '../../src/formats/gpt/index.ts';
import type { Host } from '../../src/host/index.ts';
import { resolvePaths } from '../../src/state/index.ts';

export const MIB = 2 ** 20;
export const SIZE_BYTES = 64 * MIB;
export const PART1 = { offset: MIB, sizeBytes: 24 * MIB };
export const PART2 = { offset: 25 * MIB, sizeBytes: 32 * MIB };

/** A home of its own with a VHDX of two partitions. Closing it dismounts everything and leaves nothing. */
export interface MountFixture extends AsyncDisposable {
  readonly home: string;
  readonly run: string;
  readonly host: Host;
  readonly disk: string;
}

export async function mountFixture(): Promise<MountFixture> {
  const home = await mkdtemp(join(tmpdir(), 'hv-mount-'));
  const host = await openQemuHost({ home });
  const disk = join(home, 'disk.vhdx');
  await createVhd(disk, { sizeBytes: SIZE_BYTES, blockSizeBytes: MIB });
  await using device = await openVhd(disk);
  for (const { offset, bytes } of encodeGpt({
    diskId: '11111111-2222-4333-8444-555555555555',
    diskSizeBytes: SIZE_BYTES,
    sectorSizeBytes: 512,
    partitions: [PART1, PART2].map(({ offset: start, sizeBytes }, index) => ({
      typeId: GPT_TYPE.linuxData,
      partitionId: `11111111-2222-4333-8444-66666666666${index}`,
      firstSector: start / 512,
      lastSector: (start + sizeBytes) / 512 - 1,
      name: `part${index + 1}`,
    })),
  })) {
    device.write(offset, bytes, 0, bytes.length);
  }
  const { run } = resolvePaths({ home });
  return {
    home,
    run,
    host,
    disk,
    async [Symbol.asyncDispose]() {
      for (const { path } of await host.disks.attached()) await host.disks.dismount(path);
      await host.close();
      await rm(run, { recursive: true, force: true });
      await rm(home, { recursive: true, force: true });
    },
  };
}

/** What the file itself holds, without whatever mounted it. */
export async function bytesIn(disk: string, offset: number, length: number): Promise<Buffer> {
  await using device = await openVhd(disk, { readOnly: true });
  const bytes = Buffer.alloc(length);
  device.read(offset, bytes, 0, length);
  return bytes;
}
