import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { createVhd, openChain, resizeVhd } from '../../src/disk/index.ts';
import { createVhdx, VhdxImage } from '../../src/formats/vhdx/index.ts';
import { MemoryStore } from '../../src/store/index.ts';
import { FaultStore, seededRandom } from '../../src/store/testing/fault-store.ts';
import { hasProgram, qemuCheck, TemporaryFolder, vhdiInfo } from './tools.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

/** The tools are not part of hv; where one is missing, what it would say cannot be known. */
const needsQemu = test.skipIf(!hasProgram('qemu-img'));
const needsBoth = test.skipIf(!hasProgram('qemu-img') || !hasProgram('vhdiinfo'));

function qemuSize(path: string): number {
  const answer = execFileSync('qemu-img', ['info', '--output=json', '-f', 'vhdx', path], { stdio: 'pipe' });
  return Number(JSON.parse(answer.toString())['virtual-size']);
}

/** The disk's contents as qemu reads them. */
function qemuContent(folder: TemporaryFolder, path: string): Buffer {
  const raw = folder.file('content.raw');
  execFileSync('qemu-img', ['convert', '-f', 'vhdx', '-O', 'raw', path, raw], { stdio: 'pipe' });
  return readFileSync(raw);
}

describe('other readers', () => {
  needsBoth.each(['dynamic', 'fixed'] as const)(
    'agree after every resize of a %s disk, with writes between',
    { timeout: 60_000 },
    async (type) => {
      using folder = new TemporaryFolder();
      const path = folder.file('disk.vhdx');
      const random = seededRandom(type.length);
      let model = Buffer.alloc(20 * MIB);
      await createVhd(path, { type, sizeBytes: model.length, blockSizeBytes: MIB });
      for (let round = 0; round < 8; round++) {
        const disk = openChain(path);
        for (let write = 0; write < 10; write++) {
          const offset = Math.floor((random() * model.length) / 512) * 512;
          const bytes = Buffer.alloc(Math.min(model.length - offset, 512 * Math.ceil(random() * 200)), 1 + round);
          disk.write(offset, bytes, 0, bytes.length);
          bytes.copy(model, offset);
        }
        await disk.close();
        const sizeBytes = 3 * MIB + Math.floor(random() * 80_000) * 512;
        await resizeVhd(path, sizeBytes, { unsafe: true });
        model = Buffer.concat([model.subarray(0, sizeBytes), Buffer.alloc(Math.max(0, sizeBytes - model.length))]);
        qemuCheck(path);
        expect(qemuSize(path)).toBe(sizeBytes);
        expect(qemuContent(folder, path).equals(model), `round ${round}`).toBe(true);
        expect(vhdiInfo(path)).toContain(`(${sizeBytes} bytes)`);
      }
    },
  );

  needsBoth('agree on a table that moved, of a disk of 64 TiB', async () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    await createVhd(path, { sizeBytes: 10 * MIB, blockSizeBytes: 32 * MIB });
    for (const sizeBytes of [64 * 2 ** 40, 5 * 2 ** 40, 20 * 2 ** 40]) {
      await resizeVhd(path, sizeBytes, { unsafe: true });
      qemuCheck(path);
      expect(qemuSize(path)).toBe(sizeBytes);
      expect(vhdiInfo(path)).toContain(`(${sizeBytes} bytes)`);
    }
  });

  needsQemu('replay the log of a resize whose process died, and then agree', { timeout: 60_000 }, () => {
    using folder = new TemporaryFolder();
    const path = folder.file('disk.vhdx');
    const initial = new MemoryStore();
    const sizes = [10 * MIB, 200 * GIB, 6 * MIB];
    createVhdx(initial, { type: 'dynamic', virtualSizeBytes: 10 * MIB, blockSizeBytes: MIB });
    const store = new FaultStore(initial);
    const image = VhdxImage.open(store);
    const block = new Uint8Array(MIB).fill(7);
    image.write(2 * MIB, block, 0, MIB);
    image.flushSync();
    const marks = [store.events.length];
    for (const size of sizes.slice(1)) {
      image.resize(size);
      marks.push(store.events.length);
    }
    const replay = store.replayer();
    const seen = new Set<number>();
    for (let events = marks[0] ?? 0; events <= store.events.length; events++) {
      replay.advance(events);
      if (events % 3 !== 0 && !marks.includes(events)) continue;
      const content = replay.content();
      const bytes = new Uint8Array(content.size());
      content.read(0, bytes, 0, bytes.length);
      writeFileSync(path, bytes);
      const ours = VhdxImage.open(content).sizeBytes;
      execFileSync('qemu-img', ['check', '-r', 'all', '-f', 'vhdx', path], { stdio: 'pipe' });
      qemuCheck(path);
      expect(qemuSize(path), `after event ${events}`).toBe(ours);
      seen.add(ours);
      const head = folder.file('head.raw');
      execFileSync('qemu-img', ['dd', '-f', 'vhdx', '-O', 'raw', 'bs=1M', 'count=4', `if=${path}`, `of=${head}`], {
        stdio: 'pipe',
      });
      expect(
        readFileSync(head)
          .subarray(2 * MIB, 3 * MIB)
          .equals(block),
        `after event ${events}`,
      ).toBe(true);
    }
    expect([...seen]).toEqual(sizes);
  });
});
