import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isSystemError } from '../../../errors/index.ts';

/** One line of /proc/self/mountinfo, as much as is needed (proc(5)). */
export interface MountEntry {
  readonly mountPath: string;
  /** The device's name as it was given; `hv` for our own. */
  readonly source: string;
  readonly type: string;
}

export async function readMounts(): Promise<readonly MountEntry[]> {
  return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

export function parseMountInfo(text: string): readonly MountEntry[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const mountPath = before.split(' ')[4];
    const [type, source] = after.split(' ');
    if (mountPath === undefined || type === undefined || source === undefined) return [];
    return [{ mountPath: unescapeOctal(mountPath), type, source: unescapeOctal(source) }];
  });
}

/** Blanks, tabs, line feeds and backslashes are written as three octal digits. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** The loop devices that stand on a block device, or on files in a folder: the kernel's word, not a record's. */
export async function loopDevicesOn(base: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of await namesIn('/sys/block')) {
    if (!/^loop[0-9]+$/.test(name)) continue;
    try {
      const backing = (await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8')).trimEnd();
      if (backing === base || backing.startsWith(`${base}/`)) found.push(`/dev/${name}`);
    } catch (error) {
      if (!isSystemError(error, 'ENOENT', 'ENODEV', 'ENXIO')) throw error; // it is not in use
    }
  }
  return found;
}

/** The kernel's own device for a part of a disk; undefined where it does not read the partition table. */
export async function kernelPartition(
  devicePath: string,
  part: { readonly offset: number; readonly sizeBytes: number },
  sysFolder = '/sys',
): Promise<string | undefined> {
  const disk = basename(devicePath);
  const folder = join(sysFolder, 'block', disk);
  for (const name of await namesIn(folder)) {
    if (!name.startsWith(`${disk}p`)) continue;
    const [start, size] = await Promise.all(
      ['start', 'size'].map(async (file) => Number(await readFile(join(folder, name, file), 'latin1'))),
    );
    // In sectors of 512 bytes, whatever the disk's own are.
    if (start === part.offset / 512 && size === part.sizeBytes / 512) return `/dev/${name}`;
  }
  return undefined;
}

/** Whether a process other than these has a device or one of its partitions open. Root sees all of them. */
export async function isOpenSomewhere(devicePath: string, knownPids: readonly number[]): Promise<boolean> {
  const isPart = (path: string): boolean => /^p[0-9]+$/.test(path.slice(devicePath.length));
  for (const pid of await namesIn('/proc')) {
    if (!/^[0-9]+$/.test(pid) || knownPids.includes(Number(pid))) continue;
    const folder = `/proc/${pid}/fd`;
    for (const fd of await namesIn(folder)) {
      try {
        const path = await readlink(`${folder}/${fd}`);
        if (path === devicePath || (path.startsWith(devicePath) && isPart(path))) return true;
      } catch (error) {
        if (!isSystemError(error, 'ENOENT', 'ESRCH')) throw error; // closed meanwhile
      }
    }
  }
  return false;
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isSystemError(error, 'ENOENT', 'ESRCH', 'EACCES')) return [];
    throw error;
  }
}
