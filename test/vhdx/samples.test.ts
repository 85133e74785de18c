import { execFileSync } from 'node:child_process';
import { closeSync, createReadStream, createWriteStream, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { checkVhd, openChain, resizeVhd, setUserMetadata, vhdInfo } from '../../src/disk/index.ts';
import { expectSame } from '../vhd/tools.ts';
import { hasProgram, qemuCheck, TemporaryFolder } from './tools.ts';

/** Files by Windows, Hyper-V and disk2vhd belong to others: they lie where HV_SAMPLES says, and nowhere in this project. */
const samples = process.env.HV_SAMPLES;

const SAMPLES = [
  { file: 'swap-windows.vhdx.gz', sizeBytes: 10 * 2 ** 30, blockSizeBytes: 32 * 2 ** 20 },
  { file: 'btrfs-windows.vhdx.gz', sizeBytes: 2 ** 30, blockSizeBytes: 32 * 2 ** 20 },
  { file: 'iotest-dynamic-1G.vhdx.bz2', sizeBytes: 2 ** 30, blockSizeBytes: 32 * 2 ** 20 },
  { file: 'test-disk2vhd.vhdx.bz2', sizeBytes: 256 * 2 ** 20, blockSizeBytes: 2 * 2 ** 20 },
];

function reasonToSkip(file: string): string | undefined {
  if (samples === undefined) return 'HV_SAMPLES is not set';
  if (!existsSync(join(samples, file))) return `HV_SAMPLES has no ${file}`;
  if (!hasProgram('qemu-img')) return 'qemu-img is not installed';
  return file.endsWith('.bz2') && !hasProgram('bzip2') ? 'bzip2 is not installed' : undefined;
}

async function unpack(file: string, target: string): Promise<void> {
  const packed = join(samples ?? '', file);
  if (file.endsWith('.gz')) await pipeline(createReadStream(packed), createGunzip(), createWriteStream(target));
  else {
    const out = openSync(target, 'w');
    try {
      execFileSync('bzip2', ['-dc', packed], { stdio: ['ignore', out, 'pipe'] });
    } finally {
      closeSync(out);
    }
  }
}

describe('files that Windows and others made', () => {
  for (const { file, sizeBytes, blockSizeBytes } of SAMPLES) {
    test(`${file} reads as qemu-img reads it, and can be written to`, async (context) => {
      const reason = reasonToSkip(file);
      if (reason !== undefined) context.skip(reason);
      using folder = new TemporaryFolder();
      const path = folder.file('sample.vhdx');
      await unpack(file, path);
      expect(await vhdInfo(path)).toMatchObject({ type: 'dynamic', virtualSizeBytes: sizeBytes, blockSizeBytes });

      // The makers of the format keep its rules: whatever the check says against their files is its own fault.
      expect((await checkVhd(path)).findings.filter(({ severity }) => severity !== 'info')).toEqual([]);

      const before = readFileSync(path).subarray(0, 2 * 2 ** 20);
      execFileSync('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', path, folder.file('expected.raw')]);
      const reading = openChain(path, { readOnly: true });
      expectSame(reading, folder.file('expected.raw'));
      await reading.close();
      expect(
        readFileSync(path)
          .subarray(0, 2 * 2 ** 20)
          .equals(before),
      ).toBe(true);

      const writing = openChain(path);
      const bytes = new Uint8Array(8192).fill(0xa5);
      for (const at of [0, sizeBytes / 2 + 4096, sizeBytes - 8192]) writing.write(at, bytes, 0, bytes.length);
      await writing.close();
      qemuCheck(path);
      execFileSync('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', path, folder.file('expected.raw')]);
      const again = openChain(path, { readOnly: true });
      expectSame(again, folder.file('expected.raw'));
      await again.close();

      await resizeVhd(path, sizeBytes + 5 * 2 ** 30);
      await resizeVhd(path, sizeBytes, { unsafe: true });
      await setUserMetadata(path, '01234567-89ab-cdef-0123-456789abcdef', new Uint8Array(1000).fill(1));
      expect(await checkVhd(path)).toMatchObject({ isSound: true });
      qemuCheck(path);
      const resized = openChain(path, { readOnly: true });
      expectSame(resized, folder.file('expected.raw'));
      await resized.close();
    });
  }
});
