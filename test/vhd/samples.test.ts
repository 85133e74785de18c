import { execFileSync } from 'node:child_process';
import { closeSync, createReadStream, createWriteStream, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { openChain, vhdInfo } from '../../src/disk/index.ts';
import { hasProgram } from '../vhdx/tools.ts';
import { expectSame, qemuToRaw, TemporaryFolder } from './tools.ts';

/** Files by Windows and Hyper-V belong to others: they lie where HV_SAMPLES says, and nowhere in this project. */
const samples = process.env.HV_SAMPLES;

const SAMPLES = [
  { file: 'dynamic-windows.vhd.gz', type: 'dynamic', sizeBytes: 512 * 2 ** 20, blockSizeBytes: 2 * 2 ** 20 },
  { file: 'fixed-windows.vhd.gz', type: 'fixed', sizeBytes: 10 * 2 ** 20, blockSizeBytes: null },
  { file: 'hyperv2012r2-dynamic.vhd.bz2', type: 'dynamic', sizeBytes: 127 * 2 ** 30, blockSizeBytes: 2 * 2 ** 20 },
] as const;

function reasonToSkip(file: string): string | undefined {
  if (samples === undefined) return 'HV_SAMPLES is not set';
  if (!existsSync(join(samples, file))) return `HV_SAMPLES has no ${file}`;
  if (!hasProgram('qemu-img')) return 'qemu-img is not installed';
  return file.endsWith('.bz2') && !hasProgram('bzip2') ? 'bzip2 is not installed' : undefined;
}

async function unpack(file: string, target: string): Promise<void> {
  const packed = join(samples ?? '', file);
  if (file.endsWith('.gz')) {
    await pipeline(createReadStream(packed), createGunzip(), createWriteStream(target));
    return;
  }
  const out = openSync(target, 'w');
  try {
    execFileSync('bzip2', ['-dc', packed], { stdio: ['ignore', out, 'pipe'] });
  } finally {
    closeSync(out);
  }
}

describe('files that Windows made', () => {
  for (const { file, type, sizeBytes, blockSizeBytes } of SAMPLES) {
    test(`${file} reads as qemu-img reads it, and can be written to`, async (context) => {
      const reason = reasonToSkip(file);
      if (reason !== undefined) context.skip(reason);
      using folder = new TemporaryFolder();
      const path = folder.file('sample.vhd');
      const raw = folder.file('expected.raw');
      await unpack(file, path);
      expect(await vhdInfo(path)).toMatchObject({ type, virtualSizeBytes: sizeBytes, blockSizeBytes });

      const before = readFileSync(path);
      qemuToRaw(path, raw);
      const reading = openChain(path, { readOnly: true });
      expectSame(reading, raw);
      await reading.close();
      const idle = openChain(path);
      await idle.close();
      expect(readFileSync(path).equals(before)).toBe(true);

      const writing = openChain(path);
      const bytes = new Uint8Array(8192).fill(0xa5);
      for (const at of [0, sizeBytes / 2 + 4096, sizeBytes - 8192]) writing.write(at, bytes, 0, bytes.length);
      await writing.close();
      qemuToRaw(path, raw);
      const again = openChain(path, { readOnly: true });
      expectSame(again, raw);
      await again.close();
    });
  }
});
