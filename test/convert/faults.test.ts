import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compareVhds, convertVhd, createVhd, openVhd } from '../../src/disk/index.ts';
import { isRoot } from '../../src/system/index.ts';
import { describeBuilt, hv } from '../cli/built.ts';
import { hasProgram, TemporaryFolder } from '../vhdx/tools.ts';
import { contentsOf, filesIn, MIB, qemuImg, runningQemuImg, sparseContents } from './disks.ts';

const needsQemu = test.skipIf(!hasProgram('qemu-img'));
const TARGETS = ['out.raw', 'out.vhdx', 'out.vhd', 'child.vhdx', 'out.qcow2', 'out.vmdk', 'out.vdi'];

function optionsFor(folder: TemporaryFolder, name: string): { parentPath?: string } {
  return name.startsWith('child') ? { parentPath: folder.file('base.vhdx') } : {};
}

/** A dense disk, and an empty one of the same size. */
async function denseDisk(folder: TemporaryFolder, sizeMib: number): Promise<string> {
  const raw = folder.file('dense.raw');
  const bytes = Buffer.alloc(sizeMib * MIB);
  for (let at = 0; at < bytes.length; at += 4096) bytes.writeUInt32LE(at + 1, at);
  writeFileSync(raw, bytes);
  await createVhd(folder.file('base.vhdx'), { sizeBytes: bytes.length });
  return raw;
}

describe('a copy that is cut short leaves nothing behind', () => {
  for (const name of TARGETS) {
    test(`by an abort, at any moment: ${name}`, async () => {
      using folder = new TemporaryFolder();
      const source = await denseDisk(folder, 96);
      const before = filesIn(folder.path);
      const target = folder.file(name);
      for (const stopAfter of [0, 1, 2]) {
        const controller = new AbortController();
        let turns = 0;
        const timer = setInterval(() => {}, 1000);
        const watch = (): void => {
          if (turns++ >= stopAfter) controller.abort();
          else setImmediate(watch);
        };
        if (stopAfter === 0) controller.abort();
        else setImmediate(watch);
        await expect(
          convertVhd(source, target, { ...optionsFor(folder, name), signal: controller.signal }),
        ).rejects.toMatchObject({ code: 'aborted' });
        clearInterval(timer);
        expect(filesIn(folder.path)).toEqual(before);
      }
      // The source is free again, and the copy can be made.
      await convertVhd(source, target, optionsFor(folder, name));
      expect(await compareVhds(source, target)).toMatchObject({ equal: true });
    });
  }

  needsQemu('by an abort while qemu-img unpacks the source, or by its death', async () => {
    using folder = new TemporaryFolder();
    const packed = folder.file('packed.qcow2');
    qemuImg('convert', '-c', '-f', 'raw', '-O', 'qcow2', await denseDisk(folder, 24), packed);
    const before = filesIn(folder.path);
    for (const target of ['out.vhdx', 'out.vdi']) {
      const controller = new AbortController();
      const aborted = convertVhd(packed, folder.file(target), { signal: controller.signal });
      const stopped = runningQemuImg('convert').then((pid) => {
        process.kill(pid, 'SIGSTOP');
        controller.abort();
      });
      await expect(aborted).rejects.toMatchObject({ code: 'aborted' });
      await stopped;
      const failed = convertVhd(packed, folder.file(target));
      const killed = runningQemuImg('convert').then((pid) => process.kill(pid, 'SIGKILL'));
      await expect(failed).rejects.toMatchObject({ code: 'process-failed' });
      await killed;
      expect(filesIn(folder.path)).toEqual(before);
    }
  });

  test('by a name that is taken meanwhile: the other file stays as it is', async () => {
    using folder = new TemporaryFolder();
    const source = await denseDisk(folder, 40);
    const target = folder.file('out.vhdx');
    const running = convertVhd(source, target);
    writeFileSync(target, 'somebody else');
    await expect(running).rejects.toMatchObject({ code: 'already-exists' });
    expect(readFileSync(target, 'latin1')).toBe('somebody else');
    await expect(convertVhd(source, target)).rejects.toMatchObject({ code: 'already-exists' });
    expect(filesIn(folder.path)).toEqual(['base.vhdx', 'dense.raw', 'out.vhdx']);
  });

  test('by a source that another holds for writing, or a broken one', async () => {
    using folder = new TemporaryFolder();
    await denseDisk(folder, 4);
    const source = folder.file('base.vhdx');
    const before = filesIn(folder.path);
    {
      await using _writer = await openVhd(source);
      await expect(convertVhd(source, folder.file('out.raw'))).rejects.toMatchObject({ code: 'in-use' });
      await expect(compareVhds(source, folder.file('dense.raw'))).rejects.toMatchObject({ code: 'in-use' });
    }
    writeFileSync(source, Buffer.alloc(4 * MIB, 1));
    await expect(convertVhd(source, folder.file('out.raw'))).rejects.toMatchObject({ code: 'corrupt' });
    await expect(convertVhd(folder.file('none.vhdx'), folder.file('out.raw'))).rejects.toMatchObject({
      code: 'not-found',
    });
    expect(filesIn(folder.path)).toEqual(before);
  });
});

describeBuilt('a process that is killed while it copies', () => {
  for (const name of TARGETS) {
    const isForeign = /\.(qcow2|vmdk|vdi)$/.test(name);
    (isForeign ? needsQemu : test)(`has made the whole of ${name}, or nothing`, async () => {
      using folder = new TemporaryFolder();
      const source = await denseDisk(folder, 96);
      const before = filesIn(folder.path);
      const target = folder.file(name);
      const words = [
        'vhd',
        'convert',
        source,
        target,
        ...(name.startsWith('child') ? ['--parent', folder.file('base.vhdx')] : []),
      ];
      let killed = 0;
      for (const afterMs of [90, 150, 200, 270]) {
        const { status } = await hv(words, {
          onStart: (child) => setTimeout(() => child.kill('SIGKILL'), afterMs),
        });
        if (status === null) killed++;
        if (!existsSync(target)) {
          expect(filesIn(folder.path)).toEqual(before);
          continue;
        }
        expect(filesIn(folder.path)).toEqual([...before, name].sort());
        expect(await compareVhds(source, target)).toMatchObject({ equal: true });
        break;
      }
      expect(killed).toBeGreaterThan(0);
    });
  }
});

// Only root may mount the small file system that fills up.
describe.skipIf(!isRoot())('a file system that fills up (needs root: it mounts a tmpfs)', () => {
  const withSmall = async (size: string, work: (small: string, source: string) => Promise<void>): Promise<void> => {
    using folder = new TemporaryFolder();
    const small = folder.file('small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'hv-test', small]);
    try {
      await work(small, await denseDisk(folder, 6));
    } finally {
      execFileSync('umount', ['--lazy', small]);
    }
  };

  test('is seen before anything is made, where it can be', async () => {
    await withSmall('4m', async (small, source) => {
      for (const name of TARGETS.filter((target) => target.startsWith('out'))) {
        await expect(convertVhd(source, join(small, name))).rejects.toMatchObject({
          code: 'no-space',
          detail: { neededBytes: 6 * MIB },
        });
        await expect(convertVhd(source, join(small, name), { dryRun: true })).rejects.toMatchObject({
          code: 'no-space',
        });
      }
      expect(filesIn(small)).toEqual([]);
    });
  });

  test('while the copy is made ends it, and nothing of it stays', async () => {
    await withSmall('6400k', async (small, source) => {
      for (const name of ['out.vhdx', 'out.vdi']) {
        await expect(convertVhd(source, join(small, name))).rejects.toMatchObject({ code: 'no-space' });
        expect(filesIn(small)).toEqual([]);
        expect(Number(execFileSync('df', ['--output=used', small], { encoding: 'utf8' }).split('\n')[1])).toBe(0);
      }
      await convertVhd(source, join(small, 'out.raw'));
      expect(await compareVhds(source, join(small, 'out.raw'))).toMatchObject({ equal: true });
    });
  });
});

test('another file system is written to all the same: the bytes go through memory where the kernel cannot copy', async () => {
  // Without FFI there is neither copying in the kernel nor looking for holes: a process of its own shows it.
  using folder = new TemporaryFolder();
  const raw = folder.file('source.raw');
  const contents = sparseContents(20 * MIB, 4);
  writeFileSync(raw, contents);
  for (const name of ['out.vhdx', 'out.vhd', 'out.raw']) {
    const { status, stderr } = await hv(['vhd', 'convert', raw, folder.file(name)], { env: { HV_NO_FFI: '1' } });
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(contents.equals(await contentsOf(folder.file(name)))).toBe(true);
  }
  expect(statSync(folder.file('out.raw')).blocks * 512).toBeLessThan(19 * MIB);
  expect(filesIn(folder.path)).toEqual(['out.raw', 'out.vhd', 'out.vhdx', 'source.raw']);
});
