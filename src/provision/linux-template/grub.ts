import { HvError } from '../../errors/index.ts';
import { MBR_SIZE } from '../../formats/mbr/index.ts';

/**
 * Places GRUB on a disk for a BIOS, as grub-bios-setup does, but on bytes: no root, no loop device. boot.img goes to
 * the MBR and loads one sector; that is the first of core.img (diskboot.img), whose block list loads the rest.
 * Field places: GRUB 2's manual, "Images", and the two images' published symbols.
 */
const BOOT_IMAGE = {
  codeSize: 440,
  /** u64: the sector of core.img. */
  kernelSector: 0x5c,
  /** A two-byte jump over the correction of wrong drive numbers; on a hard disk NOPs take its place. */
  driveCheck: 0x66,
} as const;
const NOP = 0x90;
const CORE_IMAGE = {
  /** The block list ends with the first sector: u64 start, u16 sectors, u16 segment. */
  blockListOffset: MBR_SIZE - 12,
} as const;

export interface GrubParts {
  /** At most 440 bytes for the MBR. */
  readonly bootCode: Uint8Array;
  /** Belongs at `coreSector`. */
  readonly core: Uint8Array;
}

/**
 * @param bootImage boot.img of grub-pc-bin
 * @param coreImage what grub-mkimage made
 * @throws HvError `corrupt`: the images are not as expected
 */
export function embedGrub(bootImage: Uint8Array, coreImage: Uint8Array, coreSector: number): GrubParts {
  if (bootImage.length !== MBR_SIZE) throw unexpected('boot.img', 'grub-boot-size');
  if (coreImage.length < 2 * MBR_SIZE) throw unexpected('core.img', 'grub-core-size');
  const bootCode = new Uint8Array(bootImage.subarray(0, BOOT_IMAGE.codeSize));
  const boot = new DataView(bootCode.buffer);
  boot.setBigUint64(BOOT_IMAGE.kernelSector, BigInt(coreSector), true);
  bootCode.fill(NOP, BOOT_IMAGE.driveCheck, BOOT_IMAGE.driveCheck + 2);

  const core = new Uint8Array(coreImage);
  const view = new DataView(core.buffer);
  const sectors = Math.ceil(core.length / MBR_SIZE) - 1;
  if (view.getUint16(CORE_IMAGE.blockListOffset + 8, true) !== sectors)
    throw unexpected('core.img', 'grub-core-blocks');
  view.setBigUint64(CORE_IMAGE.blockListOffset, BigInt(coreSector + 1), true);
  return { bootCode, core };
}

function unexpected(image: string, reason: string): HvError {
  return new HvError('corrupt', `GRUB's ${image} is not as expected`, { detail: { reason, image } });
}
