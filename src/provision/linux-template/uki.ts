import { HvError } from '../../errors/index.ts';

/**
 * A unified kernel image: systemd's EFI stub with the kernel, the initramfs and the command line added as PE sections
 * (systemd-stub(7); Microsoft PE format, "COFF file header", "optional header", "section table").
 */
const PE = {
  headerPointerOffset: 0x3c,
  signature: 0x4550,
  sectionCountOffset: 6,
  optionalHeaderSizeOffset: 20,
  optionalHeaderOffset: 24,
} as const;
const OPTIONAL = {
  magicPe32Plus: 0x20b,
  sizeOfInitializedData: 8,
  sectionAlignment: 32,
  fileAlignment: 36,
  sizeOfImage: 56,
  sizeOfHeaders: 60,
  checkSum: 64,
} as const;
const SECTION_HEADER_SIZE = 40;
const SECTION = {
  name: 0,
  virtualSize: 8,
  virtualAddress: 12,
  rawSize: 16,
  rawOffset: 20,
  characteristics: 36,
} as const;
/** IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ */
const DATA_READ_ONLY = 0x4000_0040;
/** The stub hands pages to the kernel: sections start on one. */
const PAGE = 4096;

export interface UkiParts {
  readonly kernel: Uint8Array;
  readonly initramfs: Uint8Array;
  readonly commandLine: string;
  /** The text of an os-release file: firmware menus and boot managers show it. */
  readonly osRelease: string;
}

/** @throws HvError `corrupt`: the stub is no PE file for x86-64, or has no room for four more section headers */
export function buildUki(stub: Uint8Array, parts: UkiParts): Uint8Array {
  const text = new TextEncoder();
  // The kernel comes last: it may unpack itself beyond the end of its section.
  return appendPeSections(stub, [
    { name: '.osrel', bytes: text.encode(parts.osRelease) },
    { name: '.cmdline', bytes: text.encode(`${parts.commandLine}\0`) },
    { name: '.initrd', bytes: parts.initramfs },
    { name: '.linux', bytes: parts.kernel },
  ]);
}

function appendPeSections(image: Uint8Array, added: readonly { name: string; bytes: Uint8Array }[]): Uint8Array {
  const source = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const fail = (reason: string): never => {
    throw new HvError('corrupt', 'the EFI stub of the package systemd-boot-efi is not as expected', {
      detail: { reason },
    });
  };
  if (image.length < PAGE / 4) fail('pe-too-short');
  const pe = source.getUint32(PE.headerPointerOffset, true);
  if (pe + PE.optionalHeaderOffset + 240 > image.length || source.getUint32(pe, true) !== PE.signature) {
    fail('pe-signature');
  }
  const optional = pe + PE.optionalHeaderOffset;
  if (source.getUint16(optional, true) !== OPTIONAL.magicPe32Plus) fail('pe-not-64-bit');
  const count = source.getUint16(pe + PE.sectionCountOffset, true);
  const table = optional + source.getUint16(pe + PE.optionalHeaderSizeOffset, true);
  const fileAlignment = source.getUint32(optional + OPTIONAL.fileAlignment, true);
  const memoryAlignment = Math.max(source.getUint32(optional + OPTIONAL.sectionAlignment, true), PAGE);
  const headersEnd = source.getUint32(optional + OPTIONAL.sizeOfHeaders, true);
  if (table + (count + added.length) * SECTION_HEADER_SIZE > headersEnd) fail('pe-no-room-for-sections');

  let fileEnd = alignUp(image.length, fileAlignment);
  let memoryEnd = 0;
  for (let index = 0; index < count; index++) {
    const at = table + index * SECTION_HEADER_SIZE;
    const end = source.getUint32(at + SECTION.virtualAddress, true) + source.getUint32(at + SECTION.virtualSize, true);
    memoryEnd = Math.max(memoryEnd, end);
  }
  const headers = added.map(({ name, bytes }) => {
    const header = {
      name,
      bytes,
      rawOffset: fileEnd,
      rawSize: alignUp(bytes.length, fileAlignment),
      address: alignUp(memoryEnd, memoryAlignment),
    };
    fileEnd += header.rawSize;
    memoryEnd = header.address + bytes.length;
    return header;
  });

  const out = new Uint8Array(fileEnd);
  out.set(image);
  const view = new DataView(out.buffer);
  headers.forEach((header, index) => {
    const at = table + (count + index) * SECTION_HEADER_SIZE;
    out.fill(0, at, at + SECTION_HEADER_SIZE);
    out.set(new TextEncoder().encode(header.name), at + SECTION.name);
    view.setUint32(at + SECTION.virtualSize, header.bytes.length, true);
    view.setUint32(at + SECTION.virtualAddress, header.address, true);
    view.setUint32(at + SECTION.rawSize, header.rawSize, true);
    view.setUint32(at + SECTION.rawOffset, header.rawOffset, true);
    view.setUint32(at + SECTION.characteristics, DATA_READ_ONLY, true);
    out.set(header.bytes, header.rawOffset);
  });
  const addedSize = headers.reduce((sum, header) => sum + header.rawSize, 0);
  const dataSizeAt = optional + OPTIONAL.sizeOfInitializedData;
  view.setUint16(pe + PE.sectionCountOffset, count + added.length, true);
  view.setUint32(dataSizeAt, view.getUint32(dataSizeAt, true) + addedSize, true);
  view.setUint32(optional + OPTIONAL.sizeOfImage, alignUp(memoryEnd, memoryAlignment), true);
  view.setUint32(optional + OPTIONAL.checkSum, 0, true); // firmware checks it in drivers only
  return out;
}

function alignUp(value: number, alignment: number): number {
  return Math.ceil(value / alignment) * alignment;
}
