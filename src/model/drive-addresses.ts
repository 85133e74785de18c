import { HvError } from '../errors/index.ts';
import { type ControllerType, type DriveAddress, MAX_SCSI_CONTROLLERS } from './drives.ts';
import type { VmSpecification } from './vm-specification.ts';

const IDE_CONTROLLERS = 2;
const IDE_LOCATIONS = 2;
export const SCSI_LOCATIONS = 64;

/** What kind of drive looks for a place: Hyper-V has DVD drives of a Generation 1 machine on IDE alone. */
export type DriveKind = 'hard disk drive' | 'DVD drive';

export type WantedAddress = Partial<DriveAddress>;

/** Where a machine's drives can be, and which of them are taken. */
type Drives = Pick<VmSpecification, 'name' | 'generation' | 'scsiControllerCount' | 'hardDiskDrives' | 'dvdDrives'>;

/**
 * The place of a new drive: what was asked for, and of the rest the first that is free.
 * @param isRunning a drive can then only be added to a SCSI controller
 * @throws HvError `invalid-argument` (the machine has no such place), `already-exists` (it is taken), `invalid-state` (IDE of a running machine)
 */
export function chooseAddress(
  machine: Drives,
  kind: DriveKind,
  wanted: WantedAddress = {},
  isRunning = false,
): DriveAddress {
  const types = wanted.controllerType === undefined ? typesFor(machine, kind, isRunning) : [wanted.controllerType];
  for (const controllerType of types) {
    mustHaveType(machine, kind, controllerType);
    if (controllerType === 'IDE' && isRunning) {
      throw new HvError('invalid-state', `"${machine.name}" is running: a drive on IDE cannot be added or removed`, {
        detail: { vm: machine.name, controllerType },
        hint: kind === 'DVD drive' ? 'The machine must be off.' : 'The machine must be off; or use a SCSI controller.',
      });
    }
    const free = places(machine, controllerType).filter(
      (place) =>
        (wanted.controllerNumber ?? place.controllerNumber) === place.controllerNumber &&
        (wanted.controllerLocation ?? place.controllerLocation) === place.controllerLocation,
    );
    if (free.length === 0 && isPartly(wanted)) throw noPlace(machine, controllerType, wanted);
    const found = free.find((place) => !driveAt(machine, place));
    if (found) return found;
    const [only] = free;
    if (only && wanted.controllerNumber !== undefined && wanted.controllerLocation !== undefined) {
      throw new HvError('already-exists', `"${machine.name}" has a drive at ${showAddress(only)} already`, {
        detail: { vm: machine.name, ...only },
        hint: 'Name another place, or none: the first free one is taken then.',
      });
    }
  }
  throw new HvError('invalid-state', `"${machine.name}" has no place left for a ${kind}`, {
    detail: { vm: machine.name },
    hint: `Add a SCSI controller (a machine has at most ${MAX_SCSI_CONTROLLERS}), or remove a drive.`,
  });
}

/** What is connected at a place. */
export function driveAt<T extends DriveAddress>(
  { hardDiskDrives, dvdDrives }: { readonly hardDiskDrives: readonly T[]; readonly dvdDrives: readonly DriveAddress[] },
  place: DriveAddress,
): DriveAddress | undefined {
  return [...hardDiskDrives, ...dvdDrives].find((drive) => isAt(drive, place));
}

export function isAt(drive: DriveAddress, place: DriveAddress): boolean {
  return (
    drive.controllerType === place.controllerType &&
    drive.controllerNumber === place.controllerNumber &&
    drive.controllerLocation === place.controllerLocation
  );
}

/** `SCSI 0:1` */
export function showAddress({ controllerType, controllerNumber, controllerLocation }: DriveAddress): string {
  return `${controllerType} ${controllerNumber}:${controllerLocation}`;
}

function typesFor({ generation }: Drives, kind: DriveKind, isRunning: boolean): readonly ControllerType[] {
  if (generation === 2) return ['SCSI'];
  if (kind === 'DVD drive') return ['IDE'];
  return isRunning ? ['SCSI'] : ['IDE', 'SCSI'];
}

function mustHaveType({ name, generation }: Drives, kind: DriveKind, controllerType: ControllerType): void {
  if (generation === 2 && controllerType === 'IDE') {
    throw new HvError('invalid-argument', `"${name}" is a Generation 2 machine, which has no IDE`, {
      detail: { vm: name, controllerType, generation },
      hint: 'Use a SCSI controller.',
    });
  }
  if (generation === 1 && controllerType === 'SCSI' && kind === 'DVD drive') {
    throw new HvError('invalid-argument', `a DVD drive of a Generation 1 machine is on IDE, and "${name}" is one`, {
      detail: { vm: name, controllerType, generation },
      hint: 'Use IDE.',
    });
  }
}

function places({ scsiControllerCount }: Drives, controllerType: ControllerType): DriveAddress[] {
  const isIde = controllerType === 'IDE';
  const locations = isIde ? IDE_LOCATIONS : SCSI_LOCATIONS;
  return Array.from({ length: (isIde ? IDE_CONTROLLERS : scsiControllerCount) * locations }, (_, index) => ({
    controllerType,
    controllerNumber: Math.floor(index / locations),
    controllerLocation: index % locations,
  }));
}

function isPartly({ controllerNumber, controllerLocation }: WantedAddress): boolean {
  return controllerNumber !== undefined || controllerLocation !== undefined;
}

function noPlace(machine: Drives, controllerType: ControllerType, wanted: WantedAddress): HvError {
  const all = places(machine, controllerType);
  const last = all.at(-1);
  return new HvError('invalid-argument', `"${machine.name}" has no such place on ${controllerType}`, {
    detail: {
      vm: machine.name,
      controllerType,
      controllerNumber: wanted.controllerNumber ?? null,
      controllerLocation: wanted.controllerLocation ?? null,
    },
    hint: last
      ? `Its places are ${controllerType} 0:0 to ${last.controllerNumber}:${last.controllerLocation}.`
      : 'It has no SCSI controller: add one while it is off.',
  });
}
