import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isHvError } from '../../errors/index.ts';
import { elfNeededLibraries, elfSection, isElf64 } from './elf.ts';
import { embedGrub } from './grub.ts';
import { buildUki } from './uki.ts';

/** A PE32+ file with one section, laid out as systemd's stub is; `headers` is the room for its headers. */
function peStub(headers = 1024): Uint8Array {
  const bytes = new Uint8Array(headers + 512);
  const view = new DataView(bytes.buffer);
  view.setUint32(0x3c, 0x80, true);
  view.setUint32(0x80, 0x4550, true);
  view.setUint16(0x86, 1, true);
  view.setUint16(0x94, 240, true);
  const optional = 0x98;
  view.setUint16(optional, 0x20b, true);
  view.setUint32(optional + 32, 512, true);
  view.setUint32(optional + 36, 512, true);
  view.setUint32(optional + 60, headers, true);
  const section = optional + 240;
  bytes.set(Buffer.from('.text'), section);
  view.setUint32(section + 8, 0x1234, true);
  view.setUint32(section + 12, 0x4000, true);
  view.setUint32(section + 16, 512, true);
  view.setUint32(section + 20, headers, true);
  return bytes;
}

const parts = {
  kernel: Buffer.from('the kernel'),
  initramfs: Buffer.alloc(5000, 7),
  commandLine: 'quiet',
  osRelease: 'ID=x\n',
};

describe('the unified kernel image', () => {
  it('carries four more sections on pages of their own that do not overlap, the kernel last', () => {
    const image = buildUki(peStub(), parts);
    const view = new DataView(image.buffer);
    expect(view.getUint16(0x86, true)).toBe(5);
    const sections = Array.from({ length: 5 }, (_unused, index) => {
      const at = 0x98 + 240 + index * 40;
      const name = Buffer.from(image.subarray(at, at + 8))
        .toString()
        .replace(/\0+$/, '');
      const [size = 0, address = 0, rawSize = 0, rawOffset = 0] = [8, 12, 16, 20].map((field) =>
        view.getUint32(at + field, true),
      );
      return { name, size, address, rawSize, rawOffset };
    });
    expect(sections.map(({ name }) => name)).toEqual(['.text', '.osrel', '.cmdline', '.initrd', '.linux']);
    for (const [index, section] of sections.entries()) {
      const before = sections[index - 1];
      if (!before) continue;
      expect(section.address % 4096).toBe(0);
      expect(section.address).toBeGreaterThanOrEqual(before.address + before.size);
      expect(section.rawOffset).toBe(before.rawOffset + before.rawSize);
    }
    const bytesOf = (name: string): Uint8Array => {
      const { rawOffset = 0, size = 0 } = sections.find((section) => section.name === name) ?? {};
      return image.subarray(rawOffset, rawOffset + size);
    };
    expect(Buffer.from(bytesOf('.linux'))).toEqual(parts.kernel);
    expect(Buffer.from(bytesOf('.initrd'))).toEqual(parts.initramfs);
    expect(Buffer.from(bytesOf('.cmdline')).toString()).toBe('quiet\0');
    const { address = 0, size = 0 } = sections[4] ?? {};
    expect(view.getUint32(0x98 + 56, true)).toBe(Math.ceil((address + size) / 4096) * 4096);
  });

  it('refuses a stub without room for the sections, and what is no PE file', () => {
    expect(() => buildUki(peStub(512), parts)).toThrow(/stub/);
    expect(() => buildUki(new Uint8Array(2000), parts)).toThrow(/stub/);
    expect(() => buildUki(new Uint8Array(10), parts)).toThrow(/stub/);
  });
});

describe("GRUB's images", () => {
  const boot = new Uint8Array(512).fill(0xaa);
  const core = new Uint8Array(3 * 512 - 100);
  new DataView(core.buffer).setUint16(508, 2, true);

  it('are told where they lie, without touching the originals', () => {
    const placed = embedGrub(boot, core, 34);
    expect(placed.bootCode.length).toBe(440);
    expect(new DataView(placed.bootCode.buffer).getBigUint64(0x5c, true)).toBe(34n);
    expect([...placed.bootCode.subarray(0x66, 0x68)]).toEqual([0x90, 0x90]);
    expect(new DataView(placed.core.buffer).getBigUint64(500, true)).toBe(35n);
    expect(boot.every((byte) => byte === 0xaa)).toBe(true);
    expect(core[500]).toBe(0);
  });

  it('are refused when they are not as expected', () => {
    expect(() => embedGrub(new Uint8Array(100), core, 34)).toThrow(/boot\.img/);
    expect(() => embedGrub(boot, new Uint8Array(600), 34)).toThrow(/core\.img/);
    expect(() => embedGrub(boot, new Uint8Array(5000), 34)).toThrow(/core\.img/);
  });
});

describe('an ELF file', () => {
  /** Sections: none, .dynstr, .dynamic (needs liba.so.1 and libb.so), .shstrtab. */
  function elf(): Uint8Array {
    const bytes = new Uint8Array(1024);
    const view = new DataView(bytes.buffer);
    bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1]);
    view.setBigUint64(0x28, 512n, true);
    view.setUint16(0x3a, 64, true);
    view.setUint16(0x3c, 4, true);
    view.setUint16(0x3e, 3, true);
    bytes.set(Buffer.from('\0liba.so.1\0libb.so\0'), 64);
    for (const [index, [tag, value]] of [
      [1n, 1n],
      [14n, 5n],
      [1n, 11n],
      [0n, 0n],
    ].entries()) {
      view.setBigUint64(128 + index * 16, tag ?? 0n, true);
      view.setBigUint64(136 + index * 16, value ?? 0n, true);
    }
    bytes.set(Buffer.from('\0.dynstr\0.dynamic\0.shstrtab\0'), 256);
    const section = (index: number, name: number, type: number, offset: number, size: number, link: number): void => {
      const at = 512 + index * 64;
      view.setUint32(at, name, true);
      view.setUint32(at + 4, type, true);
      view.setBigUint64(at + 24, BigInt(offset), true);
      view.setBigUint64(at + 32, BigInt(size), true);
      view.setUint32(at + 40, link, true);
    };
    section(1, 1, 3, 64, 19, 0);
    section(2, 9, 6, 128, 64, 1);
    section(3, 18, 3, 256, 28, 0);
    return bytes;
  }

  it('names its sections and the libraries that it needs', () => {
    expect(isElf64(elf())).toBe(true);
    expect(elfNeededLibraries(elf())).toEqual(['liba.so.1', 'libb.so']);
    expect(Buffer.from(elfSection(elf(), '.dynstr') ?? []).toString()).toBe('\0liba.so.1\0libb.so\0');
    expect(elfSection(elf(), '.modinfo')).toBeUndefined();
  });

  it('gives a value or an error however it is damaged', () => {
    const change = fc.tuple(fc.integer({ min: 0, max: 1023 }), fc.integer({ min: 0, max: 255 }));
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), fc.integer({ min: 0, max: 1024 }), (changes, length) => {
        const bytes = elf();
        for (const [at, value] of changes) bytes[at] = value;
        try {
          elfNeededLibraries(bytes.subarray(0, length));
        } catch (error) {
          expect(isHvError(error, 'corrupt')).toBe(true);
        }
      }),
    );
  });
});
