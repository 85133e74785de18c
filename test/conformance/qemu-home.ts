import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { poll } from '../../src/async/index.ts';
import { openQemuHost } from '../../src/engines/qemu/index.ts';
import { resolvePaths } from '../../src/state/index.ts';
import { homeFixture, type MakeFixture } from './fixture.ts';

/** One process of a home: its keeper, a machine's worker or a machine's QEMU. */
export interface HomeProcess {
  readonly pid: number;
  readonly role: 'keeper' | 'worker' | 'qemu';
}

/** Every process that belongs to this home: what it was started with, or the log that it writes to, lies there. */
export function processesOf(home: string): HomeProcess[] {
  const { run } = resolvePaths({ home });
  const isOurs = (text: string): boolean => text.includes(`${run}/`) || text.includes(`${home}/`);
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .flatMap((name) => {
      const pid = Number(name);
      const command = commandLine(pid);
      const role = roleOf(command);
      if (role === undefined || !(isOurs(command) || openFiles(pid).some(isOurs))) return [];
      return [{ pid, role }];
    });
}

export function pidsOf(home: string, role: HomeProcess['role']): number[] {
  return processesOf(home).flatMap((each) => (each.role === role ? [each.pid] : []));
}

/** The keeper and the workers give themselves a title in place of their command line. */
function roleOf(command: string): HomeProcess['role'] | undefined {
  if (/^hv-keeper|\/keeper\/main\.js /.test(command)) return 'keeper';
  if (/^hv-worker|\/worker\/main\.js /.test(command)) return 'worker';
  return /^\S*qemu-system/.test(command) ? 'qemu' : undefined;
}

/** Empty for a process that has ended, reaped or not. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return '';
  }
}

/** Descriptors come and go while they are looked at: one that is gone says nothing about the others. */
function openFiles(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return orNothing(() => readdirSync(folder)).flatMap((fd) => orNothing(() => [readlinkSync(`${folder}/${fd}`)]));
}

function orNothing(look: () => string[]): string[] {
  try {
    return look();
  } catch {
    return []; // the process or the descriptor has gone
  }
}

const GONE_MS = 15_000;

/** With its machines off, a home's processes leave by themselves: the keeper a moment after the last worker. */
export async function untilGone(home: string): Promise<void> {
  await poll(() => (processesOf(home).length === 0 ? true : undefined), {
    timeoutMs: GONE_MS,
    intervalMs: 100,
    doing: `waiting for the processes of ${home} to leave: ${JSON.stringify(processesOf(home))}`,
  });
}

/** Waits until the home's processes have left, and takes its run folder away; what does not leave by itself is killed. */
export async function leaveNothing(home: string): Promise<void> {
  try {
    await untilGone(home);
  } finally {
    for (const { pid } of processesOf(home)) process.kill(pid, 'SIGKILL');
    await rm(resolvePaths({ home }).run, { recursive: true, force: true });
  }
}

/** The engine on QEMU in a home of its own; closing it leaves neither a process nor a file. */
export const qemuFixture: MakeFixture = homeFixture((home) => openQemuHost({ home }), leaveNothing);
