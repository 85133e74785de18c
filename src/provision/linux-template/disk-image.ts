import { closeSync, openSync, readSync } from 'node:fs';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { throwIfAborted } from '../../async/index.ts';
import { randomGuid } from '../../binary/index.ts';
import type { BlockDevice } from '../../disk/index.ts';
import { HvError } from '../../errors/index.ts';
import { encodeGpt, GPT_TYPE, type GptPartition, gptUsableSectors } from '../../formats/gpt/index.ts';
import { nextData, nextHole, runProgram } from '../../system/index.ts';
import { embedGrub } from './grub.ts';
import { DATA_LABEL } from './guest-files.ts';

/**
 * The disk, bootable by BIOS and UEFI alike:
 *
 *     sector 0      protective MBR with GRUB's first stage          Generation 1 starts here
 *     34 - 2047     "BIOS boot": GRUB's core image
 *     1 MiB         EFI system partition, FAT32: the unified kernel image (Generation 2 starts here),
 *                   and kernel and initramfs by themselves for GRUB
 *     257 MiB       HVDATA, ext4: the guest's /data
 *     end           the table's copy
 */
const SECTOR = 512;
const MIB_SECTORS = 2048;
const CORE_SECTOR = 34;
const ESP_SECTOR = MIB_SECTORS;
/** FAT32 needs 65,525 clusters; with clusters of 4 KiB, which GRUB reads much faster than small ones, that is 256 MiB. */
const ESP_SECTORS = 257 * MIB_SECTORS;
const ESP_CLUSTER_SECTORS = 8;
const DATA_SECTOR = ESP_SECTOR + ESP_SECTORS;
const ESP_NUMBER = 2;

/** Below this there is no room for a useful /data. */
export const MIN_TEMPLATE_SIZE_BYTES = 512 * 1024 * 1024;
export const MAX_TEMPLATE_SIZE_BYTES = 2 ** 40;

const TOOL_DEADLINE_MS = 60_000;

export interface BootFiles {
  readonly kernel: Uint8Array;
  readonly initramfs: Uint8Array;
  readonly uki: Uint8Array;
  readonly commandLine: string;
}

/** Where grub-pc-bin puts its images. */
export interface GrubFiles {
  readonly folder: string;
}

type Target = Pick<BlockDevice, 'sizeBytes' | 'logicalSectorSizeBytes' | 'write'>;

/**
 * Writes partitions, boot code and file systems onto an empty device with 512-byte sectors.
 * @param scratch a folder for the volumes' sparse temporary files; the caller removes it
 * @throws HvError `missing-dependency`, `process-failed`, `no-space`, `aborted` and what the device throws
 */
export async function writeDiskImage(
  device: Target,
  boot: BootFiles,
  grub: GrubFiles,
  scratch: string,
  signal?: AbortSignal | undefined,
): Promise<void> {
  const { bootCode, core } = await makeGrub(grub, boot.commandLine, scratch, signal);
  const dataEnd = Math.floor((gptUsableSectors(device.sizeBytes, SECTOR).last + 1) / MIB_SECTORS) * MIB_SECTORS;
  const partition = (typeId: string, firstSector: number, sectors: number, name: string): GptPartition => ({
    typeId,
    partitionId: randomGuid(),
    firstSector,
    lastSector: firstSector + sectors - 1,
    name,
  });
  const regions = encodeGpt({
    diskId: randomGuid(),
    diskSizeBytes: device.sizeBytes,
    sectorSizeBytes: SECTOR,
    bootCode,
    partitions: [
      partition(GPT_TYPE.biosBoot, CORE_SECTOR, MIB_SECTORS - CORE_SECTOR, 'BIOS boot'),
      partition(GPT_TYPE.efiSystem, ESP_SECTOR, ESP_SECTORS, 'EFI system'),
      partition(GPT_TYPE.linuxData, DATA_SECTOR, dataEnd - DATA_SECTOR, DATA_LABEL),
    ],
  });
  const esp = await makeEsp(boot, scratch, signal);
  const data = await makeDataVolume((dataEnd - DATA_SECTOR) * SECTOR, scratch, signal);
  for (const { offset, bytes } of regions) device.write(offset, bytes, 0, bytes.length);
  device.write(CORE_SECTOR * SECTOR, core, 0, core.length);
  copyVolume(device, ESP_SECTOR * SECTOR, esp, signal);
  copyVolume(device, DATA_SECTOR * SECTOR, data, signal);
}

async function makeGrub(
  grub: GrubFiles,
  commandLine: string,
  scratch: string,
  signal: AbortSignal | undefined,
): Promise<ReturnType<typeof embedGrub>> {
  const config = join(scratch, 'grub.cfg');
  const image = join(scratch, 'core.img');
  await writeFile(config, `linux /boot/vmlinuz ${commandLine}\ninitrd /boot/initrd.img\nboot\n`);
  // Without a drive before the comma GRUB takes the one that it was started from.
  const prefix = `(,gpt${ESP_NUMBER})/boot/grub`;
  const modules = ['biosdisk', 'part_gpt', 'fat', 'linux', 'boot'];
  await runProgram(
    'grub-mkimage',
    ['-d', grub.folder, '-O', 'i386-pc', '-o', image, '-p', prefix, '-c', config, ...modules],
    { deadlineMs: TOOL_DEADLINE_MS, signal },
  );
  const parts = embedGrub(await readFile(join(grub.folder, 'boot.img')), await readFile(image), CORE_SECTOR);
  if (parts.core.length > (MIB_SECTORS - CORE_SECTOR) * SECTOR) {
    throw new HvError('internal', "GRUB's core image does not fit into its partition", {
      detail: { bytes: parts.core.length },
    });
  }
  return parts;
}

async function makeEsp(boot: BootFiles, scratch: string, signal: AbortSignal | undefined): Promise<string> {
  const path = await sparseFile(join(scratch, 'esp.img'), ESP_SECTORS * SECTOR);
  const geometry = ['-F', '32', '-s', String(ESP_CLUSTER_SECTORS), '-S', String(SECTOR), '-h', String(ESP_SECTOR)];
  await runProgram('mkfs.fat', [...geometry, '-n', 'HVBOOT', path], { deadlineMs: TOOL_DEADLINE_MS, signal });

  // mcopy copies whole trees: the tree is laid out as it shall be.
  const tree = join(scratch, 'esp');
  const files: readonly (readonly [string, Uint8Array])[] = [
    ['EFI/BOOT/BOOTX64.EFI', boot.uki],
    ['boot/vmlinuz', boot.kernel],
    ['boot/initrd.img', boot.initramfs],
  ];
  for (const [name, bytes] of files) {
    await mkdir(join(tree, name, '..'), { recursive: true });
    await writeFile(join(tree, name), bytes);
  }
  await runProgram('mcopy', ['-s', '-i', path, join(tree, 'EFI'), join(tree, 'boot'), '::/'], {
    deadlineMs: TOOL_DEADLINE_MS,
    signal,
  });
  return path;
}

/**
 * Few inodes, a small journal and all tables in one place keep the dynamic disk small; nothing is left to be
 * initialised lazily, so that an idle guest does not write.
 */
async function makeDataVolume(sizeBytes: number, scratch: string, signal: AbortSignal | undefined): Promise<string> {
  const path = await sparseFile(join(scratch, 'data.img'), sizeBytes);
  // The host's mke2fs.conf must not matter: the kernel is known, the host is not.
  const features = [
    ...['none', 'has_journal', 'ext_attr', 'dir_index', 'filetype', 'extent', '64bit', 'flex_bg', 'sparse_super'],
    ...['large_file', 'huge_file', 'dir_nlink', 'extra_isize', 'metadata_csum'],
  ].join(',');
  const extended = 'root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,packed_meta_blocks=1,nodiscard';
  const layout = ['-b', '4096', '-I', '256', '-i', '65536', '-J', 'size=8', '-m', '0'];
  await runProgram('mke2fs', ['-q', '-F', '-O', features, ...layout, '-E', extended, '-L', DATA_LABEL, path], {
    deadlineMs: TOOL_DEADLINE_MS,
    env: { MKE2FS_CONFIG: '/dev/null' },
    signal,
  });
  return path;
}

async function sparseFile(path: string, sizeBytes: number): Promise<string> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(sizeBytes);
  } finally {
    await file.close();
  }
  return path;
}

const COPY_CHUNK_BYTES = 1024 * 1024;
const ZERO_GRAIN_BYTES = 64 * 1024;

/** Copies what is not zero, so that the device stays as sparse as it can be. */
function copyVolume(device: Target, at: number, path: string, signal: AbortSignal | undefined): void {
  const buffer = Buffer.alloc(COPY_CHUNK_BYTES);
  const zeros = Buffer.alloc(ZERO_GRAIN_BYTES);
  const fd = openSync(path, 'r');
  try {
    for (let start = nextData(fd, 0); start !== undefined; ) {
      const end = nextHole(fd, start);
      for (let offset = start; offset < end; offset += COPY_CHUNK_BYTES) {
        throwIfAborted(signal, 'building the template');
        const length = readSync(fd, buffer, 0, Math.min(COPY_CHUNK_BYTES, end - offset), offset);
        for (let grain = 0; grain < length; grain += ZERO_GRAIN_BYTES) {
          const size = Math.min(ZERO_GRAIN_BYTES, length - grain);
          if (buffer.compare(zeros, 0, size, grain, grain + size) === 0) continue;
          device.write(at + offset + grain, buffer, grain, size);
        }
      }
      start = nextData(fd, end);
    }
  } finally {
    closeSync(fd);
  }
}
