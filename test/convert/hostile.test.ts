import { copyFileSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { compareVhds, convertVhd, hashVhd, mapVhd } from '../../src/disk/index.ts';
import { checkForeign } from '../../src/disk/transfer/foreign-header.ts';
import { HvError } from '../../src/errors/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';
import { hasProgram, TemporaryFolder } from '../vhdx/tools.ts';
import { filesIn, MIB, qemuImg } from './disks.ts';

const needsQemu = test.skipIf(!hasProgram('qemu-img'));
const SECRET = 'a secret of the host, which no image may have';

/** A folder with a file that no image may read, and an image in each foreign format that holds something harmless. */
function trap(): { folder: TemporaryFolder; secret: string; image(format: string): string } & Disposable {
  const folder = new TemporaryFolder();
  const secret = folder.file('secret.raw');
  writeFileSync(secret, SECRET.repeat(100));
  truncateSync(secret, 4 * MIB);
  const raw = folder.file('plain.raw');
  writeFileSync(raw, Buffer.alloc(4 * MIB, 7));
  return {
    folder,
    secret,
    image(format) {
      const path = folder.file(`image.${format}`);
      qemuImg('convert', '-f', 'raw', '-O', format, raw, path);
      return path;
    },
    [Symbol.dispose]: () => folder[Symbol.dispose](),
  };
}

/** No way of reading it says anything but no, and nothing is left behind. */
async function expectRefused(folder: TemporaryFolder, path: string, code = 'unsupported'): Promise<void> {
  const before = filesIn(folder.path);
  for (const read of [
    () => convertVhd(path, folder.file('out.raw')),
    () => convertVhd(path, folder.file('out.vhdx')),
    () => convertVhd(path, folder.file('out.vdi')),
    () => hashVhd(path),
    () => mapVhd(path),
    () => compareVhds(path, folder.file('secret.raw')),
  ]) {
    await expect(read()).rejects.toMatchObject({ code });
  }
  expect(filesIn(folder.path)).toEqual(before);
}

function patch(path: string, change: (bytes: Buffer) => void): void {
  const bytes = readFileSync(path);
  change(bytes);
  writeFileSync(path, bytes);
}

describe('an image that names other files gets nothing of them', () => {
  needsQemu('qcow2 with a backing file', async () => {
    using made = trap();
    const { folder, secret } = made;
    const path = folder.file('hostile.qcow2');
    qemuImg('create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', path, '4M');
    await expectRefused(folder, path);
    // The same without a name of the backing file's format, or with a name that is an order to the tool.
    for (const name of ['/etc/shadow', 'json:{"driver":"file","filename":"/etc/shadow"}', 'nbd:unix:/tmp/x']) {
      patch(path, (bytes) => {
        bytes.write(`${name}\0`, 512, 'latin1');
        bytes.writeBigUInt64BE(512n, 8);
        bytes.writeUInt32BE(name.length, 16);
      });
      await expectRefused(folder, path);
    }
  });

  needsQemu('qcow2 with a data file', async () => {
    using made = trap();
    const { folder, secret } = made;
    const path = folder.file('hostile.qcow2');
    const data = folder.file('data.raw');
    qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${data},data_file_raw=on`, path, '4M');
    copyFileSync(secret, data);
    await expectRefused(folder, path);
  });

  needsQemu('qcow2 that is encrypted, of an unknown version, or with features that nobody knows', async () => {
    using made = trap();
    const path = made.image('qcow2');
    const good = readFileSync(path);
    for (const change of [
      (bytes: Buffer) => bytes.writeUInt32BE(2, 32),
      (bytes: Buffer) => bytes.writeUInt32BE(4, 4),
      (bytes: Buffer) => bytes.writeBigUInt64BE(1n << 40n, 72),
    ]) {
      writeFileSync(path, good);
      patch(path, change);
      await expectRefused(made.folder, path);
    }
  });

  needsQemu('vmdk with extents in other files', async () => {
    using made = trap();
    const { folder, secret } = made;
    const descriptor = [
      '# Disk DescriptorFile',
      'version=1',
      'CID=12345678',
      'parentCID=ffffffff',
      'createType="monolithicFlat"',
      `RW 8192 FLAT "${secret}" 0`,
      '',
    ].join('\n');
    const path = folder.file('hostile.vmdk');
    writeFileSync(path, descriptor);
    await expectRefused(folder, path);
    writeFileSync(path, `\n  ${descriptor}`);
    await expectRefused(folder, path);
    // The same text inside of a sparse file: it is taken where the header has no capacity.
    const whole = made.image('vmdk');
    const at = Number(readFileSync(whole).readBigUInt64LE(28)) * 512;
    const embed = (text: string, capacity?: bigint): void => {
      copyFileSync(whole, path);
      patch(path, (bytes) => {
        bytes.fill(0, at, at + 20 * 512);
        bytes.write(text, at, 'latin1');
        if (capacity !== undefined) bytes.writeBigUInt64LE(capacity, 12);
      });
    };
    embed(descriptor, 0n);
    await expectRefused(folder, path);
    embed(descriptor);
    await expectRefused(folder, path);
  });

  needsQemu('vmdk with a parent', async () => {
    using made = trap();
    const { folder, secret } = made;
    const whole = made.image('vmdk');
    const path = folder.file('hostile.vmdk');
    for (const lines of [
      [`parentCID=11111111`],
      [`parentCID=ffffffff`, `parentFileNameHint="${secret}"`],
      [`  ParentCID = "11111111"`],
    ]) {
      copyFileSync(whole, path);
      patch(path, (bytes) => {
        const at = Number(bytes.readBigUInt64LE(28)) * 512;
        const text = ['# Disk DescriptorFile', ...lines, 'createType="monolithicSparse"', ''].join('\n');
        bytes.fill(0, at, at + 20 * 512);
        bytes.write(text, at, 'latin1');
      });
      await expectRefused(folder, path);
    }
  });

  needsQemu('vmdk whose second header says something else', async () => {
    using made = trap();
    const { folder } = made;
    const path = folder.file('stream.vmdk');
    qemuImg('convert', '-f', 'raw', '-O', 'vmdk', '-o', 'subformat=streamOptimized', folder.file('plain.raw'), path);
    expect(await hashVhd(path)).toEqual(await hashVhd(folder.file('plain.raw')));
    patch(path, (bytes) => {
      // qemu-img writes the directory's place into the first header; the format lets it stand at the end.
      bytes.writeBigUInt64LE(0xffffffffffffffffn, 56);
    });
    const marker = Buffer.alloc(512);
    const header = Buffer.from(readFileSync(path).subarray(0, 512));
    header.writeBigUInt64LE(0n, 12);
    writeFileSync(path, Buffer.concat([readFileSync(path), marker, header, Buffer.alloc(512)]));
    await expectRefused(folder, path);
  });

  needsQemu('vdi with a parent', async () => {
    using made = trap();
    const path = made.image('vdi');
    const good = readFileSync(path);
    for (const change of [
      (bytes: Buffer) => bytes.writeUInt32LE(4, 76),
      (bytes: Buffer) => bytes.fill(1, 424, 440),
      (bytes: Buffer) => bytes.fill(1, 440, 456),
      (bytes: Buffer) => bytes.writeUInt32LE(0x00010002, 68),
    ]) {
      writeFileSync(path, good);
      patch(path, change);
      await expectRefused(made.folder, path);
    }
  });
});

describe('the format is what is said, and never found out', () => {
  needsQemu('a file that is not what its name says is refused', async () => {
    using made = trap();
    const { folder } = made;
    const qcow2 = made.image('qcow2');
    for (const format of ['vmdk', 'vdi', 'vhdx', 'vhd'] as const) {
      await expect(hashVhd(qcow2, { format })).rejects.toMatchObject({ code: 'corrupt' });
    }
    const path = folder.file('disguised.vmdk');
    copyFileSync(qcow2, path);
    await expectRefused(folder, path, 'corrupt');
    await expect(hashVhd(folder.file('secret.raw'), { format: 'qcow2' })).rejects.toMatchObject({ code: 'corrupt' });
  });

  needsQemu('a raw disk whose guest wrote a qcow2 header into it stays raw', async () => {
    using made = trap();
    const { folder, secret } = made;
    const disguised = folder.file('guest.raw');
    qemuImg('create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', disguised, '4M');
    const bytes = readFileSync(disguised);
    for (const name of ['copy.raw', 'copy.qcow2']) {
      await convertVhd(disguised, folder.file(name));
      expect(await compareVhds(folder.file(name), disguised)).toMatchObject({ equal: true });
    }
    expect(readFileSync(folder.file('copy.raw')).subarray(0, bytes.length).equals(bytes)).toBe(true);
  });

  needsQemu('names that are orders to the tool are names', async () => {
    using made = trap();
    const { folder } = made;
    for (const name of [
      'nbd:localhost:1.qcow2',
      'json:{"driver":"file"}.qcow2',
      'fat:rw:x.qcow2',
      '-o,backing_file=x.qcow2',
      'a,backing=b.qcow2',
      "it's $(here) `now`.qcow2",
    ]) {
      const path = folder.file(name);
      await convertVhd(folder.file('plain.raw'), path);
      expect(await compareVhds(path, folder.file('plain.raw'), { strict: true })).toMatchObject({ equal: true });
    }
  });
});

test('any head of a file is refused or has a size, in bounded time', () => {
  const random = seededRandom(3);
  const magics = [
    (bytes: Buffer) => bytes.writeUInt32BE(0x514649fb, 0),
    (bytes: Buffer) => bytes.writeUInt32LE(0x564d444b, 0),
    (bytes: Buffer) => bytes.writeUInt32LE(0xbeda107f, 64),
  ];
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.alloc(Math.floor(random() * 3000));
    for (let at = 0; at < bytes.length; at++) if (random() < 0.1) bytes[at] = Math.floor(random() * 256);
    if (bytes.length >= 512) magics[round % 3]?.(bytes);
    const store = new MemoryStore();
    store.write(0, bytes, 0, bytes.length);
    for (const format of ['qcow2', 'vmdk', 'vdi'] as const) {
      try {
        expect(checkForeign(store, format)).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toBeInstanceOf(HvError);
      }
    }
  }
});
