import { HvError } from '../errors/index.ts';
import { SCHEMA_VERSION } from './definition.ts';

type Json = Readonly<Record<string, unknown>>;

/**
 * One step for each version of vm.json that ever was: from that version to the next. A definition is brought up in memory
 * when it is read, and written in its new form with the first command that changes it, so that looking changes nothing.
 */
export type Migrations = Readonly<Record<number, (old: Json) => Json>>;

/** Version 1 is the first. What a step adds is written out here: it must not change with the defaults of new machines. */
const MIGRATIONS: Migrations = {
  /** Settings, DVD drives, firmware and serial ports: version 1 had machines without any. */
  1: (old) => ({
    ...old,
    tpmFile: null,
    keyValuePairs: {},
    specification: withSettings(old.specification),
    snapshots: each(old.snapshots, (snapshot) => ({
      ...snapshot,
      tpmFile: null,
      specification: withSettings(snapshot.specification),
    })),
  }),
};

function withSettings(value: unknown): Json {
  const old = asJson(value);
  return {
    notes: '',
    groups: [],
    processor: {
      maximumCount: null,
      reservationPercent: 0,
      limitPercent: 100,
      relativeWeight: 100,
      nestedVirtualization: false,
    },
    dynamicMemory: null,
    mmio: { lowBytes: 134_217_728, highBytes: 536_870_912, guestControlledCacheTypes: false },
    automaticActions: { start: 'Nothing', startDelaySeconds: 0, stop: 'TurnOff' },
    checkpoints: { type: 'Standard', automatic: false },
    firmware: {
      bootOrder: [],
      nextBoot: null,
      secureBoot: false,
      secureBootTemplate: 'MicrosoftWindows',
      consoleMode: 'Default',
    },
    tpm: false,
    comPorts: [
      { number: 1, target: null },
      { number: 2, target: null },
    ],
    scsiControllerCount: scsiControllerCount(old.hardDiskDrives),
    dvdDrives: [],
    ...old,
    hardDiskDrives: each(old.hardDiskDrives, (drive) => ({
      isPhysical: false,
      qos: { maximumIops: null, minimumIops: null, maximumBytesPerSecond: null },
      ...drive,
    })),
  };
}

/** Version 1 gave a machine the SCSI controller that its drive needed: one that runs or is saved fits no other machine. */
function scsiControllerCount(drives: unknown): number {
  return Array.isArray(drives) && drives.some((drive: unknown) => asJson(drive).controllerType === 'SCSI') ? 1 : 0;
}

/** What is no object lacks everything that the check which follows asks for. */
function asJson(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

/** What is no list stays as it is, for that check to refuse. */
function each(value: unknown, step: (entry: Json) => Json): unknown {
  return Array.isArray(value) ? value.map((entry: unknown) => step(asJson(entry))) : value;
}

/**
 * Brings what was read from a definition to the present version; what has no version is left for the check that follows.
 * @throws HvError `unsupported` for a file of a later hv
 */
export function bringUp(
  value: unknown,
  path: string,
  migrations: Migrations = MIGRATIONS,
  wanted: number = SCHEMA_VERSION,
): unknown {
  let current = value;
  for (;;) {
    const version = versionOf(current);
    if (version === undefined || version === wanted) return current;
    if (version > wanted) {
      throw new HvError('unsupported', `${path} was written by a later version of hv`, {
        detail: { path, schemaVersion: version, supported: wanted },
        hint: 'Use that version, or a later one.',
      });
    }
    const step = migrations[version];
    if (!step) return current;
    current = { ...step(current as Json), schemaVersion: version + 1 }; // an object: it has a version
  }
}

function versionOf(value: unknown): number | undefined {
  if (typeof value !== 'object' || value === null || !('schemaVersion' in value)) return undefined;
  const { schemaVersion } = value;
  return typeof schemaVersion === 'number' && Number.isSafeInteger(schemaVersion) ? schemaVersion : undefined;
}
