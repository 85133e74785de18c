import { open } from 'node:fs/promises';
import { openVhd } from '../../../src/disk/index.ts';

const SECTOR = 2048;
const MIB = 2 ** 20;
/** Where the template's disk has its EFI system partition. */
const ESP = { offset: MIB, length: 257 * MIB };
const CATALOG_SECTOR = 19;
const IMAGE_SECTOR = 20;

/**
 * Writes a disc image that UEFI starts (El Torito without emulation): volume descriptors, a boot catalog, and the EFI
 * system partition of the template's disk.
 */
export async function writeBootImage(isoPath: string, templatePath: string): Promise<void> {
  await using disk = await openVhd(templatePath, { readOnly: true });
  await using file = await open(isoPath, 'w');
  const sectors = IMAGE_SECTOR + ESP.length / SECTOR;
  await file.truncate(sectors * SECTOR);
  const primary = descriptor(1);
  primary.write('HVBOOT'.padEnd(32), 40, 'latin1');
  primary.writeUInt32LE(sectors, 80);
  primary.writeUInt32BE(sectors, 84);
  const boot = descriptor(0);
  boot.write('EL TORITO SPECIFICATION', 7, 'latin1');
  boot.writeUInt32LE(CATALOG_SECTOR, 71);
  for (const [sector, bytes] of [
    [16, primary],
    [17, boot],
    [18, descriptor(255)],
    [CATALOG_SECTOR, bootCatalog()],
  ] as const) {
    await file.write(bytes, 0, SECTOR, sector * SECTOR);
  }
  const piece = Buffer.alloc(MIB);
  for (let done = 0; done < ESP.length; done += MIB) {
    disk.read(ESP.offset + done, piece, 0, MIB);
    if (piece.some((byte) => byte !== 0)) await file.write(piece, 0, MIB, IMAGE_SECTOR * SECTOR + done);
  }
}

/** ECMA-119, 8.1. */
function descriptor(type: number): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  bytes[0] = type;
  bytes.write('CD001\x01', 1, 'latin1');
  return bytes;
}

/** El Torito, 2: a validation entry for EFI, then the initial entry; one sector means "to the end of the disc" there. */
function bootCatalog(): Buffer {
  const bytes = Buffer.alloc(SECTOR);
  bytes[0] = 1;
  bytes[1] = 0xef;
  bytes.writeUInt16LE(0xaa55, 30);
  let sum = 0;
  for (let at = 0; at < 32; at += 2) sum += bytes.readUInt16LE(at);
  bytes.writeUInt16LE((0x10000 - (sum & 0xffff)) & 0xffff, 28);
  bytes[32] = 0x88;
  bytes.writeUInt16LE(1, 38);
  bytes.writeUInt32LE(IMAGE_SECTOR, 40);
  return bytes;
}
