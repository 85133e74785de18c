import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, realpath, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type CpioEntry, encodeCpio } from '../../src/formats/cpio/index.ts';
import { defaultCacheDir } from '../../src/provision/linux-template/build.ts';
import { collectLibraries } from '../../src/provision/linux-template/initramfs.ts';
import { modprobeTables, selectKernelModules } from '../../src/provision/linux-template/kernel-modules.ts';
import { obtainPackages, packageDependencies, unpackPackage } from '../../src/provision/linux-template/packages.ts';
import { findProgram, requireProgram } from '../../src/system/index.ts';

/**
 * A Linux guest with Debian's cloud kernel, whose module nbd this host may lack, and everything in memory: this host's
 * Node with the built library and the programs that mounting runs. It runs guest-proof.mjs, and gives a file back on its disk.
 */
const MODULES = ['virtio_pci', 'virtio_blk', 'ext4', 'loop', 'fuse', 'nbd'];
const PROGRAMS = ['nbd-client', 'losetup', 'mount', 'umount', 'blockdev', 'mke2fs'];
const PACKAGES = ['zod', 'koffi', '@koromix'];
/** Where the system's libraries lie, and the loader of the ABI. */
const LIBRARIES = '/lib/x86_64-linux-gnu';
const LOADER = 'ld-linux-x86-64.so.2';
const ROOT = fileURLToPath(new URL('../../', import.meta.url));

const INIT = `#!/bin/busybox sh
export PATH=/tools:/bin:/sbin
/bin/busybox mkdir -p /proc /sys /run /tmp /bin /sbin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
modprobe -aq virtio_pci virtio_blk ext4 loop fuse
ip link set lo up
export HOME=/tmp
node /hv/guest-proof.mjs 2>&1
dd if=/disk.vhdx of=/dev/vda bs=1M conv=fsync 2>/dev/null
echo "GUEST DONE"
poweroff -f
`;

/** Why the guest cannot be made here; undefined where it can. */
export async function guestObstacle(): Promise<string | undefined> {
  for (const program of [...PROGRAMS, 'qemu-system-x86_64', 'apt-get', 'dpkg-deb']) {
    if ((await findProgram(program)) === undefined) return `${program} is not installed`;
  }
  return process.arch === 'x64' ? undefined : 'the guest is one of x86-64';
}

/**
 * Runs the guest to its end.
 * @param disk what it finds as /disk.vhdx; replaced by what it leaves there
 * @returns what its console showed
 */
export async function runNbdGuest(disk: string, timeoutMs: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'hv-nbd-guest-'));
  try {
    const { kernelPath, entries } = await guestParts(folder);
    entries.push({ kind: 'file', path: 'disk.vhdx', mode: 0o600, data: await readFile(disk) });
    const initrd = join(folder, 'initrd');
    await writeFile(initrd, encodeCpio(entries));
    const back = join(folder, 'back.raw');
    await writeFile(back, '');
    await truncate(back, 256 * 2 ** 20);
    const text = await runQemu(kernelPath, initrd, back, timeoutMs);
    const size = Number(/^disk bytes: ([0-9]+)\r?$/m.exec(text)?.[1] ?? 0);
    if (size > 0) await writeFile(disk, (await readFile(back)).subarray(0, size));
    return text;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function guestParts(folder: string): Promise<{ kernelPath: string; entries: CpioEntry[] }> {
  const [kernelPackage] = (await packageDependencies(['linux-image-cloud-amd64'])).filter((name) =>
    /^linux-image-\d/.test(name),
  );
  const files = await obtainPackages([kernelPackage ?? '', 'busybox-static'], {
    folder: join(defaultCacheDir(), 'packages'),
  });
  for (const { path } of files) await unpackPackage(path, join(folder, 'root'));
  const root = join(folder, 'root');
  const [version = ''] = await readdir(join(root, 'lib/modules'));
  const modules = await selectKernelModules(join(root, 'lib/modules', version), MODULES);
  const entries: CpioEntry[] = ['bin', 'sbin', 'dev', 'tools', 'lib', 'lib64', 'lib/x86_64-linux-gnu', 'hv']
    .concat('lib/modules', `lib/modules/${version}`)
    .map((path) => ({ kind: 'folder', path, mode: 0o755 }));
  entries.push({ kind: 'characterDevice', path: 'dev/console', mode: 0o600, major: 5, minor: 1 });
  const file = (path: string, data: Uint8Array, mode = 0o755): void => {
    entries.push({ kind: 'file', path, mode, data });
  };
  file('init', Buffer.from(INIT));
  file('bin/busybox', await readFile(join(root, 'bin/busybox')));
  const tables = modprobeTables(modules);
  for (const { fileName, data } of modules) file(`lib/modules/${version}/${fileName}`, data);
  file(`lib/modules/${version}/modules.dep`, Buffer.from(tables.dep));
  file(`lib/modules/${version}/modules.alias`, Buffer.from(tables.alias));
  const libraries = new Map<string, Uint8Array>();
  const programs = new Map([['node', process.execPath]]);
  for (const name of PROGRAMS) programs.set(name, await requireProgram(name));
  for (const [name, path] of programs) {
    const data = await readFile(await realpath(path));
    file(`tools/${name}`, data);
    for (const [library, bytes] of (await collectLibraries(data, [LIBRARIES])).libraries) libraries.set(library, bytes);
  }
  for (const [name, data] of libraries) file(name === LOADER ? `lib64/${name}` : `lib/x86_64-linux-gnu/${name}`, data);
  file('hv/guest-proof.mjs', await readFile(new URL('./guest-proof.mjs', import.meta.url)));
  file('hv/package.json', await readFile(join(ROOT, 'package.json')));
  await addTree(entries, join(ROOT, 'dist'), 'hv/dist');
  entries.push({ kind: 'folder', path: 'hv/node_modules', mode: 0o755 });
  for (const name of PACKAGES) await addTree(entries, join(ROOT, 'node_modules', name), `hv/node_modules/${name}`);
  return { kernelPath: join(root, 'boot', `vmlinuz-${version}`), entries };
}

async function addTree(entries: CpioEntry[], from: string, to: string): Promise<void> {
  entries.push({ kind: 'folder', path: to, mode: 0o755 });
  for (const name of (await readdir(from)).sort()) {
    const path = join(from, name);
    if ((await stat(path)).isDirectory()) await addTree(entries, path, `${to}/${name}`);
    else if (/\.(js|cjs|mjs|json|node)$/.test(name)) {
      entries.push({ kind: 'file', path: `${to}/${name}`, mode: 0o644, data: await readFile(path) });
    }
  }
}

async function runQemu(kernel: string, initrd: string, back: string, timeoutMs: number): Promise<string> {
  const qemu = spawn(
    'qemu-system-x86_64',
    [
      ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-accel', 'tcg,thread=multi'],
      ...['-machine', 'q35', '-cpu', 'max', '-smp', '2', '-m', '1024', '-serial', 'stdio'],
      ...['-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 panic=-1 quiet'],
      ...['-drive', `if=none,id=back,format=raw,file=${back}`, '-device', 'virtio-blk-pci,drive=back'],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const timer = setTimeout(() => qemu.kill('SIGKILL'), timeoutMs);
  let text = '';
  for (const stream of [qemu.stdout, qemu.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
  }
  try {
    await new Promise((resolve, reject) => qemu.once('close', resolve).once('error', reject));
    return text.replaceAll('\r', '');
  } finally {
    clearTimeout(timer);
  }
}
