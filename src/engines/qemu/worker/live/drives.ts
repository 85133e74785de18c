import type { HardDiskDrive, VmSpecification } from '../../../../model/index.ts';
import {
  blockdevAdd,
  blockdevDelete,
  deviceAdd,
  deviceDelete,
  type JsonObject,
  qomList,
  queryNodeNames,
} from '../../../../protocols/qmp/index.ts';
import { diskDevice, diskNodes, driveNames, dvdDevice, dvdNames, mediumNodes } from '../../drive-devices.ts';
import { type LiveMachine, PERIPHERALS } from './live-machine.ts';

const IS_DRIVE = /^(?:hd|cd)[0-9a-f]{24}$/;
const IS_DISK_NODE = /^[dmn][0-9a-f]{24}$/;
const UNPLUG_MS = 10_000;

/** Plugs in the drives that QEMU lacks, and unplugs those that it has too many. */
export async function reconcileDrives(machine: LiveMachine, specification: VmSpecification): Promise<void> {
  const { monitor, runFolder } = machine;
  const wanted = new Map<string, { readonly nodes: readonly JsonObject[]; readonly device: JsonObject }>();
  for (const drive of specification.hardDiskDrives) {
    const device = diskDevice(drive, specification);
    wanted.set(driveNames(drive).device, { nodes: diskNodes(drive, runFolder), device });
  }
  for (const dvd of specification.dvdDrives) {
    const device = dvdDevice(dvd, specification);
    wanted.set(dvdNames(dvd).device, { nodes: mediumNodes(dvd, runFolder), device });
  }
  const present = (await qomList(monitor, PERIPHERALS)).filter((name) => IS_DRIVE.test(name));
  for (const name of present) if (!wanted.has(name)) await deviceDelete(monitor, name, { timeoutMs: UNPLUG_MS });
  await dropNodes(machine, IS_DISK_NODE, new Set(specification.hardDiskDrives.flatMap((drive) => nodeNames(drive))));
  for (const [name, { nodes, device }] of wanted) {
    if (present.includes(name)) continue;
    await addNodes(machine, nodes);
    await deviceAdd(monitor, device);
  }
}

/** Makes the nodes that are not there yet. */
export async function addNodes({ monitor }: LiveMachine, nodes: readonly JsonObject[]): Promise<void> {
  const present = await queryNodeNames(monitor);
  for (const node of nodes) if (!present.has(String(node['node-name']))) await blockdevAdd(monitor, node);
}

/** Takes the nodes away that nothing needs: first those on top, whose names come first in the alphabet. */
export async function dropNodes({ monitor }: LiveMachine, kind: RegExp, needed: ReadonlySet<string>): Promise<void> {
  const present = [...(await queryNodeNames(monitor))].filter((name) => kind.test(name) && !needed.has(name));
  for (const name of present.sort()) await blockdevDelete(monitor, name);
}

function nodeNames(drive: HardDiskDrive): string[] {
  const { node, nbd, otherNbd } = driveNames(drive);
  return [node, nbd, otherNbd];
}
