import { HvError } from '../../errors/index.ts';
import { CPIO_HEADER_SIZE, CPIO_MODE, CPIO_NEWC_MAGIC, CPIO_TRAILER_NAME } from './format.ts';

/** One thing in the archive. Paths are relative, with `/`; folders must come before what is in them. */
export type CpioEntry =
  | { readonly kind: 'file'; readonly path: string; readonly mode: number; readonly data: Uint8Array }
  | { readonly kind: 'folder'; readonly path: string; readonly mode: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string }
  | {
      readonly kind: 'characterDevice';
      readonly path: string;
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

/**
 * Makes a newc archive owned by root, with all times 0: the same entries give the same bytes.
 * @throws HvError `invalid-argument`: a path that is empty, absolute, climbs, or comes twice
 */
export function encodeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const chunks: Uint8Array[] = [];
  const seen = new Set<string>();
  let inode = 1;
  for (const entry of entries) {
    if (entry.path.split('/').some((part) => part === '' || part === '.' || part === '..') || seen.has(entry.path)) {
      throw new HvError('invalid-argument', `"${entry.path}" cannot be a path in an archive, or is there twice`, {
        detail: { path: entry.path },
      });
    }
    seen.add(entry.path);
    const device = entry.kind === 'characterDevice' ? entry : { major: 0, minor: 0 };
    pushEntry(chunks, {
      inode: inode++,
      mode: CPIO_MODE[entry.kind] | (entry.kind === 'link' ? 0o777 : entry.mode),
      links: entry.kind === 'folder' ? 2 : 1,
      major: device.major,
      minor: device.minor,
      name: entry.path,
      data: entry.kind === 'file' ? entry.data : entry.kind === 'link' ? Buffer.from(entry.target) : undefined,
    });
  }
  pushEntry(chunks, { inode: 0, mode: 0, links: 1, major: 0, minor: 0, name: CPIO_TRAILER_NAME, data: undefined });
  return Buffer.concat(chunks);
}

interface RawEntry {
  readonly inode: number;
  readonly mode: number;
  readonly links: number;
  readonly major: number;
  readonly minor: number;
  readonly name: string;
  readonly data: Uint8Array | undefined;
}

function pushEntry(chunks: Uint8Array[], entry: RawEntry): void {
  const name = Buffer.from(`${entry.name}\0`);
  const dataSize = entry.data?.length ?? 0;
  // inode, mode, uid, gid, links, mtime, size, device, special device, name's size with NUL, checksum (newc: 0)
  const { inode, mode, links, major, minor } = entry;
  const fields = [inode, mode, 0, 0, links, 0, dataSize, 0, 0, major, minor, name.length, 0];
  const header = CPIO_NEWC_MAGIC + fields.map((value) => value.toString(16).padStart(8, '0')).join('');
  chunks.push(Buffer.from(header, 'latin1'), name, padding(CPIO_HEADER_SIZE + name.length));
  if (entry.data) chunks.push(entry.data, padding(dataSize));
}

function padding(length: number): Uint8Array {
  return new Uint8Array((4 - (length % 4)) % 4);
}
