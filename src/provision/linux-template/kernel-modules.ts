import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { HvError } from '../../errors/index.ts';
import { elfSection } from './elf.ts';

/** A kernel module as it goes into the guest. */
export interface KernelModule {
  /** With `_` for every `-`, as the kernel counts names equal. */
  readonly name: string;
  readonly fileName: string;
  readonly data: Uint8Array;
  /** Names of the modules that must be loaded before; only what the guest has. */
  readonly dependsOn: readonly string[];
  /** Device patterns that it serves, `pci:v00001AF4d*...`. */
  readonly aliases: readonly string[];
}

/**
 * What a guest may meet: virtio and IDE as QEMU gives them, AHCI, NVMe and Intel's NICs where the kernel has them,
 * Hyper-V's own devices, the file systems that removable disks carry. A kernel that has one built in, or not at all, is fine.
 */
export const GUEST_MODULES: readonly string[] = [
  ...['virtio_pci', 'virtio_net', 'virtio_scsi', 'virtio_blk', 'virtio_console', 'virtio_balloon', 'virtio_rng'],
  ...['virtio_mem', 'virtio_input', 'vmw_vsock_virtio_transport', 'pvpanic_mmio', 'pvpanic_pci'],
  ...['ata_piix', 'ahci', 'nvme', 'sd_mod', 'sr_mod', 'e1000', 'e1000e', 'igb', 'tulip'],
  ...['hv_vmbus', 'hv_storvsc', 'hv_netvsc', 'hv_utils', 'hv_balloon', 'hyperv_fb', 'hyperv_keyboard'],
  ...['button', 'evdev', 'i6300esb', '8021q', 'loop', 'efivarfs'],
  ...['ext4', 'vfat', 'exfat', 'isofs', 'udf', 'nls_cp437', 'nls_ascii', 'nls_iso8859_1', 'nls_utf8'],
];

/** Without one of these, as a module or built in, the guest could not reach its disks, its network or the power button. */
const REQUIRED: readonly string[] = [
  'virtio_pci',
  'virtio_scsi',
  'virtio_net',
  'virtio_console',
  'ata_piix',
  'sd_mod',
  'button',
  'evdev',
  'ext4',
];

/**
 * Picks modules and everything that they depend on from an unpacked kernel package.
 * @param folder `lib/modules/<version>` of the package
 * @throws HvError `unsupported`: the kernel lacks what the guest cannot do without
 */
export async function selectKernelModules(
  folder: string,
  names: readonly string[] = GUEST_MODULES,
): Promise<readonly KernelModule[]> {
  const pathByName = new Map<string, string>();
  for (const entry of await readdir(join(folder, 'kernel'), { recursive: true, withFileTypes: true })) {
    if (entry.isFile() && entry.name.endsWith('.ko')) {
      pathByName.set(moduleName(entry.name), join(entry.parentPath, entry.name));
    }
  }
  const builtin = await builtinNames(folder);
  const missing = REQUIRED.filter((name) => !pathByName.has(name) && !builtin.has(name));
  if (missing.length > 0) {
    throw new HvError('unsupported', `the kernel in ${basename(folder)} lacks ${missing.join(', ')}`, {
      detail: { kernel: basename(folder), missing },
    });
  }

  const picked = new Map<string, KernelModule>();
  const pick = async (name: string): Promise<void> => {
    const path = pathByName.get(name);
    if (path === undefined || picked.has(name)) return;
    const data = await readFile(path);
    const info = parseModuleInfo(elfSection(data, '.modinfo') ?? new Uint8Array());
    const dependsOn = [...info.softDependencies, ...info.depends].filter((other) => pathByName.has(other));
    for (const other of dependsOn) await pick(other);
    picked.set(name, { name, fileName: basename(path), data, dependsOn, aliases: info.aliases });
  };
  for (const name of names) await pick(name);
  return [...picked.values()];
}

/** The two tables that modprobe reads, for modules that all lie in one folder. */
export function modprobeTables(modules: readonly KernelModule[]): { dep: string; alias: string } {
  const byName = new Map(modules.map((module) => [module.name, module]));
  const dep = modules.map((module) => {
    // modprobe loads from the right: what a dependency needs itself must stand further right.
    const order: string[] = [];
    const visit = (name: string): void => {
      const other = byName.get(name);
      if (!other || order.includes(other.fileName)) return;
      for (const next of other.dependsOn) visit(next);
      order.push(other.fileName);
    };
    for (const name of module.dependsOn) visit(name);
    return `${module.fileName}:${order
      .reverse()
      .map((fileName) => ` ${fileName}`)
      .join('')}\n`;
  });
  const alias = modules.flatMap((module) => module.aliases.map((pattern) => `alias ${pattern} ${module.name}\n`));
  return { dep: dep.join(''), alias: alias.join('') };
}

/** Reads the `.modinfo` section: `key=value` texts, each ended by NUL. */
export function parseModuleInfo(section: Uint8Array): {
  depends: readonly string[];
  softDependencies: readonly string[];
  aliases: readonly string[];
} {
  const depends: string[] = [];
  const softDependencies: string[] = [];
  const aliases: string[] = [];
  for (const text of Buffer.from(section).toString('latin1').split('\0')) {
    const at = text.indexOf('=');
    const value = text.slice(at + 1);
    switch (text.slice(0, at)) {
      case 'depends':
        depends.push(
          ...value
            .split(',')
            .filter((name) => name !== '')
            .map(moduleName),
        );
        break;
      case 'softdep': {
        // "pre: a b post: c": only what comes before matters to loading.
        const before = /\bpre:\s*((?:[^:\s]+(?=\s|$)\s*)*)/.exec(value)?.[1] ?? '';
        softDependencies.push(
          ...before
            .split(/\s+/)
            .filter((name) => name !== '')
            .map(moduleName),
        );
        break;
      }
      case 'alias':
        if (/^[\x21-\x7e]+$/.test(value)) aliases.push(value);
        break;
    }
  }
  return { depends, softDependencies, aliases };
}

function moduleName(fileName: string): string {
  return fileName.replace(/\.ko$/, '').replaceAll('-', '_');
}

async function builtinNames(folder: string): Promise<ReadonlySet<string>> {
  const text = await readFile(join(folder, 'modules.builtin'), 'utf8');
  return new Set(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => moduleName(basename(line))),
  );
}
