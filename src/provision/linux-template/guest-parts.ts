import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { HvError } from '../../errors/index.ts';
import { runProgram } from '../../system/index.ts';
import { collectLibraries, type InitramfsParts } from './initramfs.ts';
import { selectKernelModules } from './kernel-modules.ts';
import { obtainPackages, packageDependencies, refreshPackageLists, unpackPackage } from './packages.ts';

/** Everything of the guest that comes from packages. */
export interface GuestParts extends InitramfsParts {
  readonly kernel: Uint8Array;
  /** systemd's EFI stub. */
  readonly stub: Uint8Array;
}

export interface GuestPartsOptions {
  /** Where downloaded packages stay. */
  readonly packageFolder: string;
  /** Where they are unpacked; the caller removes it. */
  readonly scratch: string;
  readonly signal?: AbortSignal | undefined;
  /** Told before each step: how many are done, of how many. */
  readonly onStep?: (phase: string, done: number, total: number) => void;
}

/** Names of the kernel for virtual machines: Debian's, then Ubuntu's. The packages are empty and name the newest kernel. */
const KERNEL_META_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-virtual'] as const;
const KERNEL_PACKAGE = /^linux-(image|modules)-\d/;
const LIBRARY_PACKAGE = /^(lib|zlib)(?!.*perl)/;
const TOOL_DEADLINE_MS = 60_000;

/**
 * Downloads and unpacks the kernel, busybox, the guest agent with its libraries, and the EFI stub.
 * @throws HvError as obtainPackages; `unsupported` when no kernel fits
 */
export async function obtainGuestParts(options: GuestPartsOptions): Promise<GuestParts> {
  const { scratch, signal } = options;
  const rootOf = (name: string): string => join(scratch, 'packages', name);
  const unpacked = new Set<string>();
  const bring = async (names: readonly string[]): Promise<void> => {
    const wanted = names.filter((name) => !unpacked.has(name));
    if (wanted.length === 0) return;
    const files = await obtainPackages(wanted, { folder: options.packageFolder, signal });
    for (const { name, path } of files) {
      await unpackPackage(path, rootOf(name), signal);
      unpacked.add(name);
    }
  };

  options.onStep?.('packages', 0, 2);
  const kernelPackages = await findKernelPackages(signal);
  await bring([...kernelPackages, 'busybox-static', 'qemu-guest-agent', 'systemd-boot-efi']);
  options.onStep?.('packages', 1, 2);
  const agent = await readFile(join(rootOf('qemu-guest-agent'), 'usr/sbin/qemu-ga'));
  const libraries = await bringLibraries(agent, bring, () => [...unpacked].map(rootOf), signal);
  options.onStep?.('packages', 2, 2);

  const { kernelVersion, kernel, modulesFolder } = await findKernel(kernelPackages.map(rootOf));
  const busyboxPath = await findBusybox(rootOf('busybox-static'));
  const { stdout } = await runProgram(busyboxPath, ['--list-full'], { deadlineMs: TOOL_DEADLINE_MS, signal });
  return {
    kernelVersion,
    kernel,
    modules: await selectKernelModules(modulesFolder),
    busybox: await readFile(busyboxPath),
    appletPaths: stdout.toString().split('\n'),
    agent,
    libraries,
    stub: await readFile(join(rootOf('systemd-boot-efi'), 'usr/lib/systemd/boot/efi/linuxx64.efi.stub')),
  };
}

async function findKernelPackages(signal: AbortSignal | undefined): Promise<readonly string[]> {
  const found = await lookForKernel(signal);
  if (found) return found;
  // A fresh system has no lists at all.
  const late = (await refreshPackageLists(signal)) ? await lookForKernel(signal) : undefined;
  if (late) return late;
  throw new HvError('not-found', `apt knows none of the packages ${KERNEL_META_PACKAGES.join(', ')}`, {
    detail: { packages: [...KERNEL_META_PACKAGES] },
    hint: 'Refresh its lists as root: apt-get update',
  });
}

async function lookForKernel(signal: AbortSignal | undefined): Promise<readonly string[] | undefined> {
  for (const meta of KERNEL_META_PACKAGES) {
    const direct = await packageDependencies([meta], signal);
    const kernels = direct.filter((name) => KERNEL_PACKAGE.test(name));
    if (kernels.length === 0) continue;
    // Ubuntu keeps the modules in a package of their own.
    const next = await packageDependencies(kernels, signal);
    return [...new Set([...kernels, ...next.filter((name) => KERNEL_PACKAGE.test(name))])];
  }
  return undefined;
}

/** Follows the packages' dependencies only as far as libraries are still missing. */
async function bringLibraries(
  agent: Uint8Array,
  bring: (names: readonly string[]) => Promise<void>,
  roots: () => readonly string[],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, Uint8Array>> {
  let front: readonly string[] = ['qemu-guest-agent'];
  for (let depth = 0; depth < 4; depth++) {
    front = (await packageDependencies(front, signal)).filter((name) => LIBRARY_PACKAGE.test(name));
    await bring(front);
    const { libraries, missing } = await collectLibraries(agent, roots());
    if (missing.length === 0) return libraries;
  }
  const { missing } = await collectLibraries(agent, roots());
  throw new HvError('not-found', `no package has the guest agent's libraries ${missing.join(', ')}`, {
    detail: { libraries: [...missing] },
  });
}

async function findKernel(
  roots: readonly string[],
): Promise<{ kernelVersion: string; kernel: Uint8Array; modulesFolder: string }> {
  let kernelPath: string | undefined;
  let modulesFolder: string | undefined;
  for (const root of roots) {
    for (const name of await namesIn(join(root, 'boot'))) {
      if (name.startsWith('vmlinuz-')) kernelPath = join(root, 'boot', name);
    }
    for (const parent of ['lib/modules', 'usr/lib/modules']) {
      for (const name of await namesIn(join(root, parent))) {
        const folder = join(root, parent, name);
        if ((await namesIn(folder)).includes('modules.builtin')) modulesFolder = folder;
      }
    }
  }
  if (kernelPath === undefined || modulesFolder === undefined) {
    throw new HvError('unsupported', 'the kernel package has no kernel or no modules where they are expected', {
      detail: { packages: roots.map((root) => basename(root)) },
    });
  }
  return { kernelVersion: basename(modulesFolder), kernel: await readFile(kernelPath), modulesFolder };
}

async function findBusybox(root: string): Promise<string> {
  for (const folder of ['bin', 'usr/bin']) {
    if ((await namesIn(join(root, folder))).includes('busybox')) return join(root, folder, 'busybox');
  }
  throw new HvError('unsupported', 'the package busybox-static has no busybox where it is expected');
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}
