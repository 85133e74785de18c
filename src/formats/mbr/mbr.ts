import { HvError } from '../../errors/index.ts';
import {
  MBR_ACTIVE,
  MBR_BOOT_CODE_SIZE,
  MBR_DISK_SIGNATURE_OFFSET,
  MBR_PARTITION,
  MBR_PARTITION_COUNT,
  MBR_PARTITION_SIZE,
  MBR_PARTITIONS_OFFSET,
  MBR_SIGNATURE,
  MBR_SIGNATURE_OFFSET,
  MBR_SIZE,
  MBR_TYPE_GPT_PROTECTIVE,
} from './format.ts';

export interface MbrPartition {
  /** 0 is an unused record and is never listed. */
  readonly type: number;
  readonly active: boolean;
  readonly startSector: number;
  readonly sizeSectors: number;
}

export interface Mbr {
  readonly diskSignature: number;
  /** In the order of the table; at most four. */
  readonly partitions: readonly MbrPartition[];
}

const U32_MAX = 0xffff_ffff;

/**
 * Makes a boot sector with a partition table.
 * @param bootCode at most 440 bytes, copied to the start
 * @throws HvError `invalid-argument`
 */
export function encodeMbr(mbr: Mbr, bootCode?: Uint8Array): Uint8Array {
  if (mbr.partitions.length > MBR_PARTITION_COUNT) {
    throw new HvError('invalid-argument', `an MBR holds at most ${MBR_PARTITION_COUNT} partitions`, {
      detail: { partitions: mbr.partitions.length },
    });
  }
  if (bootCode !== undefined && bootCode.length > MBR_BOOT_CODE_SIZE) {
    throw new HvError('invalid-argument', `boot code for an MBR may have ${MBR_BOOT_CODE_SIZE} bytes`, {
      detail: { bytes: bootCode.length },
    });
  }
  const sector = new Uint8Array(MBR_SIZE);
  const view = new DataView(sector.buffer);
  if (bootCode) sector.set(bootCode);
  view.setUint32(MBR_DISK_SIGNATURE_OFFSET, mbr.diskSignature, true);
  mbr.partitions.forEach((partition, index) => {
    const at = MBR_PARTITIONS_OFFSET + index * MBR_PARTITION_SIZE;
    view.setUint8(at + MBR_PARTITION.bootIndicator, partition.active ? MBR_ACTIVE : 0);
    view.setUint8(at + MBR_PARTITION.type, partition.type);
    writeChs(sector, at + MBR_PARTITION.startChs, partition.startSector);
    writeChs(sector, at + MBR_PARTITION.endChs, partition.startSector + partition.sizeSectors - 1);
    view.setUint32(at + MBR_PARTITION.startLba, partition.startSector, true);
    view.setUint32(at + MBR_PARTITION.sizeSectors, partition.sizeSectors, true);
  });
  view.setUint16(MBR_SIGNATURE_OFFSET, MBR_SIGNATURE, true);
  return sector;
}

/** The record that keeps tools without GPT away from a GPT disk: everything after sector 0, as far as 32 bits reach. */
export function protectiveMbr(diskSectors: number, bootCode?: Uint8Array): Uint8Array {
  return encodeMbr(
    {
      diskSignature: 0,
      partitions: [
        {
          type: MBR_TYPE_GPT_PROTECTIVE,
          active: false,
          startSector: 1,
          sizeSectors: Math.min(diskSectors - 1, U32_MAX),
        },
      ],
    },
    bootCode,
  );
}

/**
 * Reads the table of a boot sector; CHS addresses are ignored, as every current system does.
 * @throws HvError `corrupt`: too short, or no signature
 */
export function parseMbr(sector: Uint8Array): Mbr {
  if (sector.length < MBR_SIZE) {
    throw new HvError('corrupt', 'the boot sector is shorter than 512 bytes', {
      detail: { reason: 'mbr-too-short', bytes: sector.length },
    });
  }
  const view = new DataView(sector.buffer, sector.byteOffset, MBR_SIZE);
  const signature = view.getUint16(MBR_SIGNATURE_OFFSET, true);
  if (signature !== MBR_SIGNATURE) {
    throw new HvError('corrupt', 'the boot sector has no signature', {
      detail: { reason: 'mbr-signature', offset: MBR_SIGNATURE_OFFSET, value: signature },
    });
  }
  const partitions: MbrPartition[] = [];
  for (let index = 0; index < MBR_PARTITION_COUNT; index++) {
    const at = MBR_PARTITIONS_OFFSET + index * MBR_PARTITION_SIZE;
    const type = view.getUint8(at + MBR_PARTITION.type);
    if (type === 0) continue;
    partitions.push({
      type,
      active: (view.getUint8(at + MBR_PARTITION.bootIndicator) & MBR_ACTIVE) !== 0,
      startSector: view.getUint32(at + MBR_PARTITION.startLba, true),
      sizeSectors: view.getUint32(at + MBR_PARTITION.sizeSectors, true),
    });
  }
  return { diskSignature: view.getUint32(MBR_DISK_SIGNATURE_OFFSET, true), partitions };
}

/** Cylinder, head and sector in the geometry that LBA translation uses (255 heads, 63 sectors); all ones when out of reach. */
function writeChs(sector: Uint8Array, at: number, lba: number): void {
  const cylinder = Math.floor(lba / (255 * 63));
  if (cylinder > 1023) {
    sector.set([0xff, 0xff, 0xff], at);
    return;
  }
  const head = Math.floor(lba / 63) % 255;
  sector.set([head, (lba % 63) + 1 + ((cylinder >> 8) << 6), cylinder & 0xff], at);
}
