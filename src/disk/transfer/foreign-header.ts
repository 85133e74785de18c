import { HvError } from '../../errors/index.ts';
import { QCOW2_HEADER_AT, QCOW2_MAGIC } from '../../formats/qcow2/index.ts';
import { VDI_HEADER_AT, VDI_MAGIC, VDI_TYPE, VDI_VERSION } from '../../formats/vdi/index.ts';
import { VMDK_HEADER_AT, VMDK_MAGIC } from '../../formats/vmdk/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { ForeignFormat } from '../image-format.ts';

/**
 * Looks at the head of another program's image before that program's tools do: it must be what its name says, and it
 * must hold its contents itself. A file that names others (a backing file, a data file, extents) could make the tool
 * read whatever lies on this system.
 */

const SECTOR = 512;
/** Incompatible features: 0 dirty, 1 corrupt, 2 external data file, 3 compression type, 4 extended L2 entries. */
const EXTERNAL_DATA_FILE = 1 << 2;
const KNOWN_FEATURES = 0b11111n;

/** A VMDK's directory lies at the end of the file, and a second header in its last sector but one. */
const DIRECTORY_AT_END = 0xffffffffffffffffn;
/** As much as any reader takes for a descriptor, whatever the header says of its length. */
const MAX_DESCRIPTOR_BYTES = 2 ** 20;
const SELF_CONTAINED_VMDK = ['monolithicsparse', 'streamoptimized'];
const NO_PARENT_CID = 'ffffffff';

/**
 * @returns the disk's size in bytes
 * @throws HvError `corrupt` (not of that format), `unsupported` (not whole by itself, encrypted, of an unknown kind), `io`
 */
export function checkForeign(store: ByteStore, format: ForeignFormat): number {
  const head = Buffer.alloc(SECTOR);
  store.read(0, head, 0, SECTOR);
  const check = { qcow2: checkQcow2, vmdk: checkVmdk, vdi: checkVdi }[format];
  const size = check(store, head);
  if (size > 0n && size <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(size);
  throw new HvError('corrupt', `${store.name} says that its disk has ${size} bytes`, {
    detail: { path: store.name, reason: 'foreign-size', offset: 0, value: String(size) },
  });
}

function checkQcow2(store: ByteStore, head: Buffer): bigint {
  mustBe(store, 'qcow2', head.readUInt32BE(0) === QCOW2_MAGIC, 0);
  const version = head.readUInt32BE(QCOW2_HEADER_AT.version);
  if (version !== 2 && version !== 3) throw refused(store, `it is of version ${version}`);
  if (head.readBigUInt64BE(QCOW2_HEADER_AT.backingFileOffset) !== 0n)
    throw refused(store, 'it stands on a backing file');
  if (head.readUInt32BE(QCOW2_HEADER_AT.cryptMethod) !== 0) throw refused(store, 'it is encrypted');
  if (version === 3) {
    const features = head.readBigUInt64BE(QCOW2_HEADER_AT.incompatibleFeatures);
    if ((features & BigInt(EXTERNAL_DATA_FILE)) !== 0n) throw refused(store, 'its contents lie in another file');
    if ((features & ~KNOWN_FEATURES) !== 0n) throw refused(store, 'it uses features that hv does not know');
  }
  return head.readBigUInt64BE(QCOW2_HEADER_AT.size);
}

function checkVmdk(store: ByteStore, head: Buffer): bigint {
  if (/^\s*#\s*disk descriptorfile/i.test(head.toString('latin1'))) {
    throw refused(store, 'it is a descriptor whose contents lie in other files');
  }
  mustBe(store, 'vmdk', head.readUInt32LE(0) === VMDK_MAGIC, 0);
  const capacity = checkVmdkHeader(store, head);
  if (head.readBigUInt64LE(VMDK_HEADER_AT.directoryOffset) === DIRECTORY_AT_END) {
    // The header at the end is the one that counts; it must say the same.
    const footer = Buffer.alloc(SECTOR);
    const at = store.size() - 2 * SECTOR;
    if (at < SECTOR || at % SECTOR !== 0) throw refused(store, 'its end is cut off');
    store.read(at, footer, 0, SECTOR);
    mustBe(store, 'vmdk', footer.readUInt32LE(0) === VMDK_MAGIC, at);
    if (checkVmdkHeader(store, footer) !== capacity) throw refused(store, 'its two headers do not agree');
  }
  return capacity * BigInt(SECTOR);
}

function checkVmdkHeader(store: ByteStore, header: Buffer): bigint {
  const version = header.readUInt32LE(VMDK_HEADER_AT.version);
  if (version < 1 || version > 3) throw refused(store, `it is of version ${version}`);
  const capacity = header.readBigUInt64LE(VMDK_HEADER_AT.capacity);
  // Without a capacity of its own, such a file is only the wrapping of a descriptor.
  if (capacity === 0n) throw refused(store, 'it is a descriptor whose contents lie in other files');
  const at = header.readBigUInt64LE(VMDK_HEADER_AT.descriptorOffset) * BigInt(SECTOR);
  if (at === 0n) return capacity;
  if (at > BigInt(store.size())) throw refused(store, 'its descriptor lies beyond its end');
  const text = Buffer.alloc(Math.min(MAX_DESCRIPTOR_BYTES, store.size() - Number(at)));
  store.read(Number(at), text, 0, text.length);
  checkVmdkDescriptor(store, text.toString('latin1'));
  return capacity;
}

function checkVmdkDescriptor(store: ByteStore, whole: string): void {
  const text = whole.slice(0, whole.includes('\0') ? whole.indexOf('\0') : undefined);
  const values = (key: string): string[] =>
    [...text.matchAll(new RegExp(`^[ \\t]*${key}[ \\t]*=[ \\t]*"?([^"\\r\\n]*)"?`, 'gim'))].map((match) =>
      (match[1] ?? '').trim().toLowerCase(),
    );
  if (/parentFileNameHint/i.test(text) || values('parentCID').some((cid) => cid !== NO_PARENT_CID)) {
    throw refused(store, 'it stands on a parent');
  }
  if (values('createType').some((type) => !SELF_CONTAINED_VMDK.includes(type))) {
    throw refused(store, 'its contents lie in other files');
  }
  const extents = [...text.matchAll(/^[ \t]*(?:RW|RDONLY|NOACCESS)[ \t]+\d+[ \t]+(\w+)([^\r\n]*)/gim)];
  if (extents.length > 1 || extents.some(([, type]) => type?.toUpperCase() !== 'SPARSE')) {
    throw refused(store, 'its contents lie in other files');
  }
}

function checkVdi(store: ByteStore, head: Buffer): bigint {
  mustBe(store, 'vdi', head.readUInt32LE(VDI_HEADER_AT.magic) === VDI_MAGIC, VDI_HEADER_AT.magic);
  const version = head.readUInt32LE(VDI_HEADER_AT.version);
  if (version !== VDI_VERSION) throw refused(store, `it is of version 0x${version.toString(16)}`);
  const type = head.readUInt32LE(VDI_HEADER_AT.type);
  if (!Object.values(VDI_TYPE).some((known) => known === type)) throw refused(store, 'it stands on another image');
  for (const at of [VDI_HEADER_AT.linkId, VDI_HEADER_AT.parentId]) {
    if (head.subarray(at, at + 16).some((byte) => byte !== 0)) throw refused(store, 'it stands on another image');
  }
  return head.readBigUInt64LE(VDI_HEADER_AT.size);
}

function mustBe(store: ByteStore, format: ForeignFormat, isIt: boolean, offset: number): void {
  if (!isIt) throw notOf(store, format, offset);
}

function notOf(store: ByteStore, format: ForeignFormat, offset: number): HvError {
  return new HvError('corrupt', `${store.name} is not a ${format} file`, {
    detail: { path: store.name, reason: 'foreign-signature', offset, value: format },
    hint: 'If it has another format, say which.',
  });
}

function refused(store: ByteStore, why: string): HvError {
  return new HvError('unsupported', `${store.name} is not read: ${why}`, {
    detail: { path: store.name, why },
    hint: 'Make a whole, unencrypted copy with the program that wrote it.',
  });
}
