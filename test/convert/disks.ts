import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { openVhd } from '../../src/disk/index.ts';
import { seededRandom } from '../../src/store/testing/fault-store.ts';

export const MIB = 2 ** 20;

/** What qemu-img calls a format. */
const QEMU_FORMAT: Readonly<Record<string, string>> = { img: 'raw', vhd: 'vpc' };

function qemuFormat(path: string): string {
  const ending = path.slice(path.lastIndexOf('.') + 1);
  return QEMU_FORMAT[ending] ?? ending;
}

/** qemu-img's verdict on two disks; throws with its words where it cannot tell. */
export function qemuSaysEqual(first: string, second: string): boolean {
  const args = ['compare', '-f', qemuFormat(first), '-F', qemuFormat(second), first, second];
  const { status, stderr, stdout } = spawnSync('qemu-img', args, { encoding: 'utf8' });
  if (status !== 0 && status !== 1) throw new Error(`qemu-img compare: ${stdout}${stderr}`);
  return status === 0;
}

export function qemuImg(...args: string[]): string {
  return execFileSync('qemu-img', args, { encoding: 'utf8', stdio: 'pipe' });
}

/** Pieces of data in a sea of zeros, some of them zeros that were written, some across any boundary. */
export function sparseContents(sizeBytes: number, seed: number): Buffer {
  const random = seededRandom(seed);
  const bytes = Buffer.alloc(sizeBytes);
  for (let piece = 0; piece < 24; piece++) {
    const offset = Math.floor(random() * sizeBytes);
    const length = Math.ceil(random() * (piece % 4 === 0 ? 3 * MIB : 9000));
    for (let at = offset; at < Math.min(sizeBytes, offset + length); at++) bytes[at] = 1 + Math.floor(random() * 255);
  }
  bytes.fill(0x11, sizeBytes - 700);
  return bytes;
}

export async function contentsOf(path: string, allowParents: readonly string[] = []): Promise<Buffer> {
  await using disk = await openVhd(path, { readOnly: true, allowParents });
  const bytes = Buffer.alloc(disk.sizeBytes);
  disk.read(0, bytes, 0, bytes.length);
  return bytes;
}

/** Everything in a folder, hidden files too. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder).sort();
}

/** Waits until this process runs qemu-img with that command, and answers its number. */
export async function runningQemuImg(command: string): Promise<number> {
  for (;;) {
    for (const pid of childrenOfThisProcess()) {
      const words = wordsOf(pid);
      if (words[0]?.endsWith('qemu-img') && words[1] === command) return pid;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function childrenOfThisProcess(): number[] {
  return readdirSync('/proc/self/task').flatMap((task) =>
    readFileSync(`/proc/self/task/${task}/children`, 'latin1').split(' ').filter(Boolean).map(Number),
  );
}

function wordsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0');
  } catch {
    return []; // It has ended.
  }
}
