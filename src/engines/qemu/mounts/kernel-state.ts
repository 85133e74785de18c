import { readdir, readFile } from 'node:fs/promises';
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

/** The loop devices that stand on files in a folder: the kernel's word, not a record's. */
export async function loopDevicesOn(folder: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const name of await blockDevices()) {
    if (!/^loop[0-9]+$/.test(name)) continue;
    try {
      const backing = await readFile(`/sys/block/${name}/loop/backing_file`, 'utf8');
      if (backing.startsWith(`${folder}/`)) found.push(`/dev/${name}`);
    } catch (error) {
      if (!isSystemError(error, 'ENOENT', 'ENODEV', 'ENXIO')) throw error; // it is not in use
    }
  }
  return found;
}

async function blockDevices(): Promise<readonly string[]> {
  try {
    return await readdir('/sys/block');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return [];
    throw error;
  }
}
