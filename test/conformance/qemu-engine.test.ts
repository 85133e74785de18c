import { spawn } from 'node:child_process';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { openVhd } from '../../src/disk/index.ts';
import { openQemuHost } from '../../src/engines/qemu/index.ts';
import { isRoot, requireProgram, runProgram } from '../../src/system/index.ts';
import { hv } from '../cli/built.ts';
import type { HostFixture } from './fixture.ts';
import { leaveNothing, pidsOf, qemuFixture, untilGone } from './qemu-home.ts';

const MIB = 2 ** 20;

/** What is true of this engine alone: its files, its processes, other programs of this system. */
describe('the engine on QEMU', () => {
  let fixture: HostFixture;
  let home = '';
  beforeAll(async () => {
    fixture = await qemuFixture();
    home = join(fixture.folder, 'home');
  });
  afterAll(() => fixture.close());

  const definitionFile = (id: string): string => join(home, 'vms', id, 'vm.json');

  it('lists the ids where the home already holds a name twice', async () => {
    const { vms } = fixture.host;
    const first = await vms.create({ name: 'double' });
    const second = await vms.create({ name: 'other' });
    const text = await readFile(definitionFile(second.id), 'utf8');
    await writeFile(definitionFile(second.id), text.replace('"other"', '"DOUBLE"'));
    const failure = expect(vms.resolve('Double')).rejects;
    await failure.toMatchObject({
      code: 'ambiguous-name',
      detail: { ids: expect.arrayContaining([first.id, second.id]) },
    });
    expect((await vms.resolve(second.id)).name).toBe('DOUBLE');
    await vms.rename(second.id, 'single again');
    expect((await vms.resolve('double')).id).toBe(first.id);
  });

  it.each([
    ['cut short', 'corrupt', (text: string) => text.slice(0, 100)],
    ['empty', 'corrupt', () => ''],
    ['of a later version', 'unsupported', (text: string) => text.replace('"schemaVersion": 2', '"schemaVersion": 99')],
    [
      'with a path that leaves its folder',
      'corrupt',
      (text: string) => text.replace('"nvramFile": null', '"nvramFile": "../x"'),
    ],
    ['of another machine', 'corrupt', (text: string) => text.replaceAll(/"id": "[0-9a-f]{8}/g, '"id": "00000000')],
  ] as const)(
    'names the file of a definition that is %s; whole machines are still reached',
    async (_what, code, damage) => {
      const { vms } = fixture.host;
      const { id } = await vms.create({ name: 'damaged' });
      const whole = await vms.create({ name: 'whole' });
      const file = definitionFile(id);
      const text = await readFile(file, 'utf8');
      try {
        await writeFile(file, damage(text));
        for (const ask of [
          () => vms.info(id),
          () => vms.resolve('damaged'),
          () => vms.start(id),
          () => vms.create({ name: 'new' }),
        ]) {
          await expect(ask()).rejects.toMatchObject({ code, detail: { path: file } });
        }
        expect((await vms.info(whole.id)).name).toBe('whole');
        const shown = (await vms.list()).map((vm) => vm.id);
        expect(shown).toContain(whole.id);
        expect(shown).not.toContain(id);
        expect(await vms.unreadable()).toMatchObject([{ code, detail: { path: file } }]);
        expect(await fixture.host.system.doctor()).toContainEqual(
          expect.objectContaining({ status: 'missing', fix: expect.stringContaining(file) }),
        );
        expect((await vms.resolve(whole.id)).name).toBe('whole');
      } finally {
        await writeFile(file, text);
      }
      await vms.delete(id);
      await vms.delete(whole.id);
    },
  );

  it('refuses a disk that qemu-nbd serves, and keeps qemu-img from a disk of its own', async () => {
    const { host, folder } = fixture;
    const diskPath = join(folder, 'served.vhdx');
    await host.disks.create(diskPath, { type: 'dynamic', sizeBytes: 64 * MIB });
    const socket = join(folder, 'nbd.sock');
    const program = await requireProgram('qemu-nbd');
    const server = spawn(program, ['-f', 'vhdx', '-t', '-k', socket, diskPath], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let complaint = '';
    server.stderr.setEncoding('utf8').on('data', (text: string) => {
      complaint += text;
    });
    const ended = new Promise((resolve) => server.once('close', resolve));
    const early = ended.then(() => Promise.reject(new Error(`qemu-nbd ended by itself: ${complaint}`)));
    early.catch(() => undefined); // its own end is only a failure while it is needed
    try {
      const isThere = async (): Promise<true | undefined> => (await readdir(folder)).includes('nbd.sock') || undefined;
      await Promise.race([early, poll(isThere, { timeoutMs: 20_000, doing: 'waiting for qemu-nbd' })]);
      await expect(host.vms.create({ name: 'late', diskPath })).rejects.toMatchObject({
        code: 'in-use',
        detail: { path: diskPath, pid: server.pid },
      });
    } finally {
      server.kill('SIGKILL');
      await ended;
    }
    const { id } = await host.vms.create({ name: 'late', diskPath, generation: 1, memoryBytes: 64 * MIB });
    await host.vms.start(id);
    const write = runProgram('qemu-io', ['-f', 'vhdx', '-c', 'write 0 4k', diskPath], { deadlineMs: 10_000 });
    await expect(write).rejects.toMatchObject({ detail: { stderrTail: expect.stringMatching(/lock/) } });
    await host.vms.forceStop(id);
  });

  // Only root may mount the small file system that is too small.
  it.skipIf(!isRoot())('leaves nothing behind when there is no space for a disk (needs root)', async () => {
    const { host, folder } = fixture;
    const small = join(folder, 'small');
    await mkdir(small);
    await runProgram('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'hv-test', small], { deadlineMs: 10_000 });
    try {
      const before = await host.vms.list();
      const diskPath = join(small, 'new.vhdx');
      await expect(host.disks.create(diskPath, { type: 'fixed', sizeBytes: 64 * MIB })).rejects.toMatchObject({
        code: 'no-space',
      });
      const work = host.vms.create({ name: 'no room', diskPath, newDiskSizeBytes: 64 * MIB });
      await expect(work).rejects.toMatchObject({ code: 'no-space' });
      expect(await readdir(small)).toEqual([]);
      expect(await host.vms.list()).toEqual(before);
      expect((await readdir(join(home, 'vms'))).sort()).toEqual(before.map((vm) => vm.id).sort());
    } finally {
      await runProgram('umount', ['--lazy', small], { deadlineMs: 10_000 });
    }
  });

  it('knows its files where the home and the disk are reached through links', async () => {
    const real = join(fixture.folder, 'real');
    const linked = join(fixture.folder, 'linked');
    await mkdir(real);
    await symlink(real, linked);
    const host = await openQemuHost({ home: join(linked, 'home') });
    const { id } = await host.vms.create({
      name: 'linked',
      diskPath: join(linked, 'disk.vhdx'),
      newDiskSizeBytes: 64 * MIB,
    });
    const write = async (text: string): Promise<void> => {
      const path = (await host.vms.info(id)).hardDiskDrives[0]?.path ?? '';
      const disk = await openVhd(path, { allowParents: [real] });
      disk.write(0, Buffer.alloc(512, text), 0, 512);
      await disk.close();
    };
    await write('a');
    const kept = await host.snapshots.create(id, 'kept');
    await write('b');
    const dropped = await host.snapshots.create(id, 'dropped');
    await write('c');
    await host.snapshots.delete(id, dropped.id);
    await host.snapshots.apply(id, kept.id);
    const disk = await openVhd((await host.vms.info(id)).hardDiskDrives[0]?.path ?? '', {
      readOnly: true,
      allowParents: [real],
    });
    const found = Buffer.alloc(1);
    disk.read(0, found, 0, 1);
    await disk.close();
    expect(found.toString()).toBe('a');
    await host.vms.delete(id, { withDisks: true });
    expect(await readdir(real)).toEqual(['home']);
    await host.close();
    await leaveNothing(join(linked, 'home'));
  });

  it('has a keeper from the first machine’s start until a moment after the last one’s end', async () => {
    await untilGone(home);
    const { vms } = fixture.host;
    const { id } = await vms.create({ name: 'kept', generation: 1, memoryBytes: 64 * MIB });
    expect(pidsOf(home, 'keeper')).toEqual([]);
    await vms.start(id);
    expect(pidsOf(home, 'keeper')).toHaveLength(1);
    expect(pidsOf(home, 'worker')).toHaveLength(1);
    await vms.forceStop(id);
    await untilGone(home);
  });

  it('does the same without native calls', async () => {
    const env = { HV_HOME: join(fixture.folder, 'plain'), HV_NO_FFI: '1' };
    const done = async (...words: string[]): Promise<string> => {
      const { status, stdout, stderr } = await hv(words, { env });
      expect({ words, status, stderr }).toEqual({ words, status: 0, stderr: '' });
      return stdout;
    };
    const state = async (): Promise<string> => JSON.parse(await done('vm', 'info', 'plain', '--json')).state;
    await done('vm', 'create', 'plain', '--memory', '64M', '--generation', '1', '--new-disk', '64M');
    expect((await hv(['vm', 'create', 'PLAIN'], { env })).status).toBe(4);
    try {
      await done('vm', 'start', 'plain');
      expect(await state()).toBe('Running');
      await done('snapshot', 'create', 'plain', 'first');
      await done('vm', 'save', 'plain');
      expect(await state()).toBe('Saved');
      await done('vm', 'start', 'plain');
      process.kill(JSON.parse(await done('vm', 'info', 'plain', '--json')).processes.worker, 'SIGKILL');
      await poll(async () => (pidsOf(env.HV_HOME, 'worker').length === 1 ? true : undefined), {
        timeoutMs: 10_000,
        doing: 'waiting for a new worker',
      });
      await done('vm', 'pause', 'plain');
      await done('vm', 'force-stop', 'plain');
      await done('snapshot', 'apply', 'plain', 'first');
      expect(await state()).toBe('Saved');
      await done('vm', 'force-stop', 'plain');
      await done('snapshot', 'delete', 'plain', 'first');
      await done('vm', 'delete', 'plain', '--with-disks', '--yes');
      expect(JSON.parse(await done('vm', 'list', '--json'))).toEqual([]);
    } finally {
      await hv(['vm', 'force-stop', 'plain'], { env });
      await leaveNothing(env.HV_HOME);
    }
  });
});
