/**
 * The layout of a VirtualBox disk image, version 1.1: constants only. All integers are little-endian.
 * Source: VirtualBox's VDIPREHEADER, VDIHEADER1PLUS and VDIIMAGEBLOCKPOINTER, as its SDK documents them.
 */
export const VDI_MAGIC = 0xbeda107f;
export const VDI_VERSION = 0x00010001;
export const VDI_HEADER_AT = {
  text: 0,
  magic: 64,
  version: 68,
  headerBytes: 72,
  type: 76,
  blockMapOffset: 340,
  dataOffset: 344,
  sectorBytes: 360,
  size: 368,
  blockBytes: 376,
  blockCount: 384,
  allocatedCount: 388,
  imageId: 392,
  modificationId: 408,
  linkId: 424,
  parentId: 440,
} as const;

/** An image that grows as it is written, and one that has all its space. */
export const VDI_TYPE = { dynamic: 1, fixed: 2 } as const;
export const SECTOR = 512;
/** From `headerBytes` to the end of the header's last field. */
export const HEADER_BYTES = 400;
export const BLOCK_BYTES = 2 ** 20;
export const BLOCK_MAP_OFFSET = SECTOR;
export const BLOCK_ENTRY_BYTES = 4;
