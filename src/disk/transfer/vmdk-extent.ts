import type { ByteStore } from '../../store/index.ts';

const SECTOR = 512;
const DESCRIPTOR_AT = 28;
const DESCRIPTOR_SECTORS_AT = 36;
const MAX_DESCRIPTOR_SECTORS = 128;

/**
 * Gives the one extent in a new vmdk file's descriptor the file's own name: the file had none when the descriptor was
 * written. Other programs look for the extent under it. A name that the descriptor cannot hold is left out.
 * Source: VMware's Virtual Disk Format 5.0, "The Extent Description"; the header is little-endian.
 */
export function nameVmdkExtent(store: ByteStore, name: string): void {
  const header = Buffer.alloc(SECTOR);
  store.read(0, header, 0, SECTOR);
  const at = Number(header.readBigUInt64LE(DESCRIPTOR_AT)) * SECTOR;
  const sectors = Number(header.readBigUInt64LE(DESCRIPTOR_SECTORS_AT));
  if (at === 0 || sectors > MAX_DESCRIPTOR_SECTORS) return;
  const bytes = Buffer.alloc(sectors * SECTOR);
  store.read(at, bytes, 0, bytes.length);
  const end = bytes.indexOf(0);
  const text = bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
  const safeName = /^[^"\p{C}]+$/u.test(name) ? name : 'disk.vmdk';
  const renamed = Buffer.from(
    text.replace(/^(RW \d+ SPARSE )"[^"]*"/m, (_line, start: string) => `${start}"${safeName}"`),
  );
  if (renamed.length > bytes.length) return;
  bytes.fill(0);
  renamed.copy(bytes);
  store.write(at, bytes, 0, bytes.length);
}
