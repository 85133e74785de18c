/**
 * Master boot record, the first 512 bytes of a BIOS disk; UEFI specification 2.10, section 5.2.
 * All numbers are little-endian.
 */
export const MBR_SIZE = 512;
/** Boot code may fill the sector up to here; four reserved-by-habit bytes of disk signature and two of flags follow. */
export const MBR_BOOT_CODE_SIZE = 440;
export const MBR_DISK_SIGNATURE_OFFSET = 440;
export const MBR_PARTITIONS_OFFSET = 446;
export const MBR_PARTITION_SIZE = 16;
export const MBR_PARTITION_COUNT = 4;
export const MBR_SIGNATURE_OFFSET = 510;
export const MBR_SIGNATURE = 0xaa55;

/** Where the fields of one partition record lie (UEFI 5.2.1, table 5.1). */
export const MBR_PARTITION = {
  bootIndicator: 0,
  startChs: 1,
  type: 4,
  endChs: 5,
  startLba: 8,
  sizeSectors: 12,
} as const;

export const MBR_ACTIVE = 0x80;
/** The type that covers a GPT disk so that older tools see it as full (UEFI 5.2.3). */
export const MBR_TYPE_GPT_PROTECTIVE = 0xee;
/** Partitions that hold a chain of further tables, each with one partition. */
export const MBR_TYPES_EXTENDED: readonly number[] = [0x05, 0x0f, 0x85];
