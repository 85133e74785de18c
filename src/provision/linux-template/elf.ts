import { HvError } from '../../errors/index.ts';

/**
 * What the template needs of an ELF file (System V ABI, chapter 4; 64-bit little-endian only): a section's bytes and
 * the libraries that a program asks for. The files come from signed packages, yet every offset is checked.
 */
const ELF = {
  magic: 0x464c457f,
  class64: 2,
  littleEndian: 1,
  classOffset: 4,
  dataOffset: 5,
  sectionTableOffset: 0x28,
  sectionEntrySizeOffset: 0x3a,
  sectionCountOffset: 0x3c,
  namesIndexOffset: 0x3e,
  sectionHeaderSize: 64,
} as const;
const SECTION = { name: 0, type: 4, offset: 24, size: 32, link: 40 } as const;
const SECTION_TYPE_DYNAMIC = 6;
const DT_NULL = 0n;
const DT_NEEDED = 1n;

interface Section {
  readonly name: string;
  readonly type: number;
  readonly link: number;
  readonly bytes: Uint8Array;
}

/** The bytes of the first section of that name; undefined where there is none. @throws HvError `corrupt` */
export function elfSection(file: Uint8Array, name: string): Uint8Array | undefined {
  return readSections(file).find((section) => section.name === name)?.bytes;
}

/** The names of the shared libraries that must be there (DT_NEEDED), in order. @throws HvError `corrupt` */
export function elfNeededLibraries(file: Uint8Array): readonly string[] {
  const sections = readSections(file);
  const dynamic = sections.find((section) => section.type === SECTION_TYPE_DYNAMIC);
  if (!dynamic) return [];
  const strings = sections[dynamic.link]?.bytes ?? new Uint8Array();
  const view = viewOf(dynamic.bytes);
  const needed: string[] = [];
  for (let at = 0; at + 16 <= dynamic.bytes.length; at += 16) {
    const tag = view.getBigUint64(at, true);
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) needed.push(textAt(strings, Number(view.getBigUint64(at + 8, true))));
  }
  return needed;
}

/** Whether the bytes begin as a 64-bit little-endian ELF file does. */
export function isElf64(file: Uint8Array): boolean {
  return (
    file.length >= 64 &&
    viewOf(file).getUint32(0, true) === ELF.magic &&
    file[ELF.classOffset] === ELF.class64 &&
    file[ELF.dataOffset] === ELF.littleEndian
  );
}

function readSections(file: Uint8Array): readonly Section[] {
  if (!isElf64(file)) throw corrupt('elf-magic', 'not a 64-bit ELF file');
  const view = viewOf(file);
  const tableAt = Number(view.getBigUint64(ELF.sectionTableOffset, true));
  const count = view.getUint16(ELF.sectionCountOffset, true);
  const entrySize = view.getUint16(ELF.sectionEntrySizeOffset, true);
  if (count === 0) return [];
  if (entrySize < ELF.sectionHeaderSize || tableAt + count * entrySize > file.length) {
    throw corrupt('elf-sections', 'the section table lies outside of the file');
  }
  const raw = Array.from({ length: count }, (_unused, index) => {
    const at = tableAt + index * entrySize;
    const offset = Number(view.getBigUint64(at + SECTION.offset, true));
    const size = Number(view.getBigUint64(at + SECTION.size, true));
    return {
      nameAt: view.getUint32(at + SECTION.name, true),
      type: view.getUint32(at + SECTION.type, true),
      link: view.getUint32(at + SECTION.link, true),
      // Sections without bytes in the file (.bss) may point anywhere; subarray bounds them to what is there.
      bytes: file.subarray(Math.min(offset, file.length), Math.min(offset + size, file.length)),
    };
  });
  const names = raw[view.getUint16(ELF.namesIndexOffset, true)]?.bytes ?? new Uint8Array();
  return raw.map(({ nameAt, type, link, bytes }) => ({ name: textAt(names, nameAt), type, link, bytes }));
}

function textAt(strings: Uint8Array, at: number): string {
  if (at >= strings.length) return '';
  const end = strings.indexOf(0, at);
  return Buffer.from(strings.subarray(at, end < 0 ? strings.length : end)).toString('latin1');
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function corrupt(reason: string, message: string): HvError {
  return new HvError('corrupt', message, { detail: { reason } });
}
