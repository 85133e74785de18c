import { HvError } from '../../errors/index.ts';
import {
  type DriveAddress,
  type DvdDrive,
  type HardDiskDrive,
  isAt,
  showAddress,
  type VmSpecification,
} from '../../model/index.ts';
import type { VmDefinition } from '../../state/index.ts';
import { AHCI_PORTS } from './drive-devices.ts';
import { isOwnLayer } from './layers.ts';
import type { PlannedDisk } from './plan-disk.ts';

/** What becomes of a definition when its drives change. Nothing here touches a file or a machine. */

export function withHardDiskDrive(
  definition: VmDefinition,
  drive: HardDiskDrive,
  disk: PlannedDisk,
  allowedParents: readonly string[],
): VmDefinition {
  const { specification } = definition;
  const others = specification.hardDiskDrives.filter(({ id }) => id !== drive.id);
  return {
    ...definition,
    specification: {
      ...specification,
      hardDiskDrives: [...others, drive].sort(byAddress),
      allowedParents: [...new Set([...specification.allowedParents, ...allowedParents])],
    },
    // A device of the host is no file of the machine's: nothing is ever merged into it, or deleted with it.
    ...(drive.isPhysical
      ? {}
      : {
          attached: { ...definition.attached, [drive.id]: disk.path },
          parents: { ...definition.parents, [drive.id]: [...disk.parents] },
        }),
  };
}

export function withDvdDrive(definition: VmDefinition, dvd: DvdDrive): VmDefinition {
  const { specification } = definition;
  const others = specification.dvdDrives.filter(({ id }) => id !== dvd.id);
  return { ...definition, specification: { ...specification, dvdDrives: [...others, dvd].sort(byAddress) } };
}

/** Without a drive of either kind; also in the order of booting. */
export function withoutDrive(definition: VmDefinition, driveId: string): VmDefinition {
  const { specification } = definition;
  const { firmware } = specification;
  return withoutForgottenDrives({
    ...definition,
    specification: {
      ...specification,
      hardDiskDrives: specification.hardDiskDrives.filter(({ id }) => id !== driveId),
      dvdDrives: specification.dvdDrives.filter(({ id }) => id !== driveId),
      firmware: {
        ...firmware,
        bootOrder: firmware.bootOrder.filter(({ id }) => id !== driveId),
        nextBoot: firmware.nextBoot?.id === driveId ? null : firmware.nextBoot,
      },
    },
  });
}

/** The disks of drives that neither the machine nor a snapshot has any more are nobody's. */
export function withoutForgottenDrives(definition: VmDefinition): VmDefinition {
  const known = new Set(
    [definition, ...definition.snapshots].flatMap(({ specification }) =>
      specification.hardDiskDrives.map(({ id }) => id),
    ),
  );
  const only = <T>(entries: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(entries).filter(([id]) => known.has(id)));
  return { ...definition, attached: only(definition.attached), parents: only(definition.parents) };
}

function byAddress(one: DriveAddress, other: DriveAddress): number {
  const of = (drive: DriveAddress): number =>
    (drive.controllerType === 'IDE' ? 0 : 1000) + drive.controllerNumber * 100 + drive.controllerLocation;
  return of(one) - of(other);
}

/** @throws HvError `not-found` */
export function requireDriveAt<T extends DriveAddress>(
  { id, specification }: VmDefinition,
  drives: readonly T[],
  address: DriveAddress,
  kind: string,
): T {
  const drive = drives.find((each) => isAt(each, address));
  if (drive) return drive;
  throw new HvError('not-found', `"${specification.name}" has no ${kind} at ${showAddress(address)}`, {
    detail: { id, ...address },
    hint: `See: hv ${kind === 'DVD drive' ? 'dvd' : 'disk'} list`,
  });
}

/** What this engine's devices allow beyond what the machine's controllers do. @throws HvError `unsupported` */
export function mustBePossible(
  { name, guest, generation }: VmSpecification,
  address: DriveAddress,
  isRunning: boolean,
): void {
  if (guest === 'linux' || address.controllerType === 'IDE') return;
  const refuse = (what: string, hint: string): never => {
    throw new HvError('unsupported', `${what} of "${name}", whose guest is Windows, is not supported by this engine`, {
      detail: { vm: name, guest, generation, ...address },
      hint,
    });
  };
  if (generation === 1) refuse('a drive on SCSI', 'Use IDE.');
  if (address.controllerNumber > 0 || address.controllerLocation >= AHCI_PORTS) {
    refuse(`a drive at ${showAddress(address)}`, `Use SCSI 0:0 to 0:${AHCI_PORTS - 1}.`);
  }
  if (isRunning) refuse('adding or removing a drive while it runs', 'Stop it first.');
}

/** The drive writes to a layer that no snapshot names: who removes the drive loses what is in it. */
export function isOnLayerOfItsOwn(definition: VmDefinition, drive: HardDiskDrive): boolean {
  const isFrozen = definition.snapshots.some(({ specification }) =>
    specification.hardDiskDrives.some(({ path }) => path === drive.path),
  );
  return isOwnLayer(definition, drive.path) && !isFrozen;
}
