import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, vi } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { type OpenDisk, openVhd } from '../../src/disk/index.ts';
import { isHvError } from '../../src/errors/index.ts';
import type { VmInfo } from '../../src/model/index.ts';
import { type HvPaths, resolvePaths, type VmDefinition, vmPaths } from '../../src/state/index.ts';
import { hv, type ProcessResult } from '../cli/built.ts';
import type { HostFixture } from '../conformance/fixture.ts';
import { pidsOf, qemuFixture } from '../conformance/qemu-home.ts';

export const MIB = 2 ** 20;

/** A host whose processes may be killed: it knows where they are and what they wrote down. */
export interface FaultFixture extends HostFixture {
  readonly home: string;
  readonly paths: HvPaths;
}

export async function faultFixture(): Promise<FaultFixture> {
  const fixture = await qemuFixture();
  const home = join(fixture.folder, 'home');
  return { ...fixture, home, paths: resolvePaths({ home }) };
}

/** A machine without a system: its firmware runs and finds nothing to boot. Quick to start, save and kill. */
export async function bareMachine(fixture: FaultFixture, name: string): Promise<string> {
  const { id } = await fixture.host.vms.create({
    name,
    generation: 1,
    memoryBytes: 64 * MIB,
    processorCount: 1,
    switchName: null,
    diskPath: join(fixture.folder, `${name}.vhdx`),
    newDiskSizeBytes: 64 * MIB,
  });
  return id;
}

export function killAll(pids: readonly number[]): void {
  for (const pid of pids) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It ended by itself, because another of them died.
    }
  }
}

/** Waits until the kernel has taken the processes away: a killed one is still there for a moment. */
export async function killAndWait(fixture: FaultFixture, ...roles: ('keeper' | 'worker' | 'qemu')[]): Promise<void> {
  const pids = roles.flatMap((role) => pidsOf(fixture.home, role));
  killAll(pids);
  await poll(() => (pids.some(isThere) ? undefined : true), { timeoutMs: 10_000, doing: 'waiting for them to die' });
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** The machine's state once it is one of those that last. */
export async function settled(fixture: FaultFixture, id: string): Promise<VmInfo> {
  return await poll(
    async () => {
      const info = await fixture.host.vms.info(id);
      return ['Off', 'Running', 'Paused', 'Saved'].includes(info.state) ? info : undefined;
    },
    { timeoutMs: 20_000, intervalMs: 20, doing: 'waiting for a state that lasts' },
  );
}

export async function readDefinition(fixture: FaultFixture, id: string): Promise<VmDefinition> {
  return JSON.parse(await readFile(vmPaths(fixture.paths, id).definition, 'utf8')) as VmDefinition;
}

/** Runs the built command in the fixture's home; killed after `killAfterMs` where that is given. */
export function command(
  fixture: FaultFixture,
  words: readonly string[],
  options: { readonly killAfterMs?: number } = {},
): Promise<ProcessResult> {
  const { killAfterMs } = options;
  return hv(words, {
    env: { HV_HOME: fixture.home },
    onStart: (child) => {
      if (killAfterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    },
  });
}

/** A worker that a killed command asked for holds the disks for a moment; not longer. */
const HELD_MS = 8000;

async function openDisk(fixture: FaultFixture, id: string, readOnly: boolean): Promise<OpenDisk> {
  const path = (await fixture.host.vms.info(id)).hardDiskDrives[0]?.path ?? '';
  return await poll(
    async () => {
      try {
        return await openVhd(path, { readOnly, allowParents: [fixture.folder] });
      } catch (error) {
        if (isHvError(error, 'in-use')) return undefined;
        throw error;
      }
    },
    { timeoutMs: HELD_MS, doing: `waiting for ${path} to be free` },
  );
}

/** Writes into the present disk of a machine that is off, as its guest would have. */
export async function writeDisk(fixture: FaultFixture, id: string, at: number, text: string): Promise<void> {
  const disk = await openDisk(fixture, id, false);
  try {
    const data = Buffer.alloc(4096, text);
    disk.write(at * MIB, data, 0, data.length);
  } finally {
    await disk.close();
  }
}

/** The text at each of these megabytes; empty where nothing was written. */
export async function readDisk(fixture: FaultFixture, id: string, ...at: number[]): Promise<string[]> {
  const disk = await openDisk(fixture, id, true);
  try {
    return at.map((place) => {
      const data = Buffer.alloc(4096);
      disk.read(place * MIB, data, 0, data.length);
      return new Set(data).size === 1 && data[0] ? String.fromCharCode(data[0]) : data.every((b) => b === 0) ? '' : '?';
    });
  } finally {
    await disk.close();
  }
}

/**
 * What must hold after anything: as many QEMUs as living machines, and, once a machine was started again, no file in its
 * data folder that neither its definition nor a layer under it names.
 */
export async function expectConsistent(fixture: FaultFixture): Promise<void> {
  // A QEMU that a killed command had just started is ended by its worker a moment later; it must not stay.
  await vi.waitFor(
    async () => {
      const infos = await Promise.all((await fixture.host.vms.list()).map(({ id }) => settled(fixture, id)));
      const living = infos.flatMap((info) => (info.processes ? [info.processes.engine] : []));
      expect(pidsOf(fixture.home, 'qemu').sort()).toEqual(living.sort());
      for (const info of infos)
        expect(info.processes !== null).toBe(info.state === 'Running' || info.state === 'Paused');
    },
    { timeout: 5000, interval: 50 },
  );
}

/** The files of a machine's data folder, by part. */
export async function dataFiles(fixture: FaultFixture, id: string): Promise<Record<string, string[]>> {
  const { dataPath } = await readDefinition(fixture, id);
  const parts = ['disks', 'saved', 'snapshots'];
  return Object.fromEntries(
    await Promise.all(parts.map(async (part) => [part, (await readdir(join(dataPath, part))).sort()] as const)),
  );
}
