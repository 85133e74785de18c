/**
 * GUID partition table; UEFI specification 2.10, section 5.3. All numbers are little-endian; a GUID's first three
 * groups are little-endian too (appendix A). Sector 0 is the protective MBR, sector 1 this header, the table follows;
 * the copies lie at the disk's end, table first.
 */
export const GPT_SIGNATURE = 'EFI PART';
export const GPT_REVISION = 0x0001_0000;
/** Bytes that the header's own checksum covers. */
export const GPT_HEADER_SIZE = 92;
export const GPT_PRIMARY_LBA = 1;
export const GPT_ENTRY_SIZE = 128;
/** The least that the specification demands (5.3.1: 16,384 bytes) and what every tool writes. */
export const GPT_ENTRY_COUNT = 128;
export const GPT_NAME_UNITS = 36;

/** Where the header's fields lie (table 5.5). */
export const GPT_HEADER = {
  signature: 0,
  revision: 8,
  headerSize: 12,
  headerCrc: 16,
  reserved: 20,
  myLba: 24,
  alternateLba: 32,
  firstUsableLba: 40,
  lastUsableLba: 48,
  diskId: 56,
  tableLba: 72,
  entryCount: 80,
  entrySize: 84,
  tableCrc: 88,
} as const;

/** Where an entry's fields lie (table 5.6). */
export const GPT_ENTRY = {
  typeId: 0,
  partitionId: 16,
  firstLba: 32,
  lastLba: 40,
  attributes: 48,
  name: 56,
} as const;

/** Well-known partition types. */
export const GPT_TYPE = {
  unused: '00000000-0000-0000-0000-000000000000',
  efiSystem: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b',
  biosBoot: '21686148-6449-6e6f-744e-656564454649',
  microsoftReserved: 'e3c9e316-0b5c-4db8-817d-f92df00215ae',
  microsoftBasicData: 'ebd0a0a2-b9e5-4433-87c0-68b6b72699c7',
  linuxData: '0fc63daf-8483-4772-8e79-3d69d8477de4',
} as const;
