import { createHash } from 'node:crypto';
import { invariant } from '../../errors/index.ts';
import type { DriveAddress, DvdDrive, HardDiskDrive, VmSpecification } from '../../model/index.ts';
import type { JsonObject } from '../../protocols/qmp/index.ts';
import { SOCKETS } from './sockets.ts';

/**
 * A machine's drives as QEMU has them: block nodes over the worker's NBD server, and the devices that the guest sees. The
 * same for a start and for a device that is plugged into a running machine.
 */

/** The names under which QEMU knows a hard disk drive; QMP commands use them. */
export function driveNames(drive: Pick<HardDiskDrive, 'id'>): {
  readonly node: string;
  readonly nbd: string;
  /** In place of that one, once the drive has grown; and so on by turns. */
  readonly otherNbd: string;
  readonly device: string;
} {
  const short = shortName(drive.id);
  return { node: `d${short}`, nbd: `n${short}`, otherNbd: `m${short}`, device: `hd${short}` };
}

/** The same for a DVD drive; the names of its medium tell one image from another. */
export function dvdNames(dvd: DvdDrive): {
  readonly device: string;
  readonly medium: { readonly node: string; readonly nbd: string; readonly export: string } | null;
} {
  const device = `cd${shortName(dvd.id)}`;
  if (dvd.path === null) return { device, medium: null };
  const medium = `${dvd.id.slice(0, 8)}${createHash('sha256').update(dvd.path).digest('hex').slice(0, 16)}`;
  return { device, medium: { node: `v${medium}`, nbd: `w${medium}`, export: `dvd-${medium}` } };
}

function shortName(id: string): string {
  return id.replaceAll('-', '').slice(0, 24);
}

const NBD_RECONNECT_SECONDS = 24 * 3600;
/** A full or failing host disk stops the machine instead of showing the guest an error. */
const ERROR_POLICY = { werror: 'stop', rerror: 'stop' } as const;

/** The block nodes of a hard disk drive, in the order in which they are made; the last is the device's. */
export function diskNodes(drive: HardDiskDrive, runFolder: string): readonly [nbd: JsonObject, raw: JsonObject] {
  const { nbd } = driveNames(drive);
  return [nbdNode(drive, nbd, runFolder), driveNode(drive, nbd)];
}

/** What QEMU reads and writes a drive through: the worker's server. */
export function nbdNode(drive: Pick<HardDiskDrive, 'id'>, nodeName: string, runFolder: string): JsonObject {
  return { ...serverNode(nodeName, drive.id, runFolder), ...DISK_OPTIONS };
}

/** The node that the guest's device stands on. It lets blockdev-reopen put another NBD node under a running guest. */
export function driveNode(drive: Pick<HardDiskDrive, 'id'>, nbdNodeName: string): JsonObject {
  return { driver: 'raw', 'node-name': driveNames(drive).node, file: nbdNodeName, ...DISK_OPTIONS };
}

const DISK_OPTIONS = {
  discard: 'unmap',
  'detect-zeroes': 'unmap',
  cache: { direct: true, 'no-flush': false },
} as const;

/** The block nodes of the medium in a DVD drive; none where it is empty. */
export function mediumNodes(dvd: DvdDrive, runFolder: string): readonly JsonObject[] {
  const { medium } = dvdNames(dvd);
  if (!medium) return [];
  return [
    { ...serverNode(medium.nbd, medium.export, runFolder), 'read-only': true },
    { driver: 'raw', 'node-name': medium.node, file: medium.nbd, 'read-only': true },
  ];
}

function serverNode(name: string, exportName: string, runFolder: string): JsonObject {
  return {
    driver: 'nbd',
    'node-name': name,
    server: { type: 'unix', path: `${runFolder}/${SOCKETS.nbd}` },
    export: exportName,
    // The guest's requests wait this long for a new worker when the old one died; nothing is lost meanwhile.
    'reconnect-delay': NBD_RECONNECT_SECONDS,
    'open-timeout': 10,
  };
}

export function diskDevice(drive: HardDiskDrive, specification: VmSpecification): JsonObject {
  const names = driveNames(drive);
  return { ...place(drive, specification, 'hd'), drive: names.node, id: names.device, ...ERROR_POLICY };
}

export function dvdDevice(dvd: DvdDrive, specification: VmSpecification): JsonObject {
  const { device, medium } = dvdNames(dvd);
  return { ...place(dvd, specification, 'cd'), id: device, ...(medium ? { drive: medium.node } : {}) };
}

/** Ports of the chipset's own AHCI controller. */
export const AHCI_PORTS = 6;

/** Which device, and where it is plugged in. */
function place(at: DriveAddress, { guest }: VmSpecification, kind: 'hd' | 'cd'): JsonObject {
  if (at.controllerType === 'IDE') {
    return { driver: `ide-${kind}`, bus: `ide.${at.controllerNumber}`, unit: at.controllerLocation };
  }
  if (guest === 'linux') {
    return {
      driver: `scsi-${kind}`,
      bus: `scsi${at.controllerNumber}.0`,
      channel: 0,
      'scsi-id': at.controllerLocation,
      lun: 0,
    };
  }
  // Windows has no virtio driver of its own: the chipset's AHCI ports stand in for the SCSI controller.
  invariant(at.controllerLocation < AHCI_PORTS, 'a Windows guest has six AHCI ports');
  return { driver: `ide-${kind}`, bus: `ide.${at.controllerLocation}` };
}

/** The SCSI controllers of a guest that drives them, whether something is connected or not. */
export function scsiControllers({ guest, scsiControllerCount }: VmSpecification): JsonObject[] {
  if (guest !== 'linux') return [];
  return Array.from({ length: scsiControllerCount }, (_, number) => ({
    driver: 'virtio-scsi-pci',
    id: `scsi${number}`,
  }));
}

/**
 * The place of each device in the order of booting, by QEMU's name for it: the one for the next start, those that the
 * firmware's settings name, then the remaining hard disk drives and DVD drives.
 */
export function bootIndexes(specification: VmSpecification): ReadonlyMap<string, number> {
  const { hardDiskDrives, dvdDrives, firmware } = specification;
  const devices = new Map<string, string>([
    ...hardDiskDrives.map((drive) => [drive.id, driveNames(drive).device] as const),
    ...dvdDrives.map((dvd) => [dvd.id, dvdNames(dvd).device] as const),
  ]);
  const named = [...(firmware.nextBoot ? [firmware.nextBoot] : []), ...firmware.bootOrder].map(({ id }) => id);
  const order = [...new Set([...named, ...devices.keys()])].flatMap((id) => devices.get(id) ?? []);
  return new Map(order.map((device, index) => [device, index]));
}
