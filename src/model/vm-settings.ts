import { HvError } from '../errors/index.ts';
import type { BootDevice } from './firmware.ts';
import { CHECKPOINT_TYPES, type CheckpointType } from './snapshot.ts';
import { type VmSpecification, validMemory, validProcessorCount } from './vm-specification.ts';
import type { VmState } from './vm-state.ts';

/** What can be changed of a machine beside its name and its devices; what is absent stays. */
export interface VmSettings {
  readonly notes?: string;
  /** Names of all the groups that it shall belong to. */
  readonly groups?: readonly string[];
  readonly processorCount?: number;
  /** Bytes, a whole number of megabytes. */
  readonly memoryBytes?: number;
  readonly checkpointType?: CheckpointType;
  /** Drives in the order in which the firmware tries them; those that are not named come after. */
  readonly bootOrder?: readonly BootDevice[];
}

/** When each may change: the hardware that a guest was started with is its own until it is off. */
const WHEN: Readonly<Record<keyof VmSettings, 'off' | 'always'>> = {
  notes: 'always',
  groups: 'always',
  processorCount: 'off',
  memoryBytes: 'off',
  checkpointType: 'always',
  bootOrder: 'always',
};

const MAX_NOTES = 10_000;
const MAX_GROUPS = 100;
const MAX_GROUP_NAME = 100;

/**
 * The specification with the settings in it.
 * @throws HvError `invalid-argument`; `invalid-state` for what needs a machine that is off
 */
export function withSettings(specification: VmSpecification, settings: VmSettings, state: VmState): VmSpecification {
  const given = Object.entries(settings).flatMap(([key, value]) =>
    value === undefined ? [] : [key],
  ) as (keyof VmSettings)[];
  const changed: VmSpecification = {
    ...specification,
    ...(settings.notes === undefined ? {} : { notes: validNotes(settings.notes) }),
    ...(settings.groups === undefined ? {} : { groups: validGroups(settings.groups) }),
    ...(settings.processorCount === undefined ? {} : { processorCount: validProcessorCount(settings.processorCount) }),
    ...(settings.memoryBytes === undefined ? {} : { memoryBytes: validMemory(settings.memoryBytes) }),
    checkpoints: {
      ...specification.checkpoints,
      ...(settings.checkpointType === undefined ? {} : { type: validCheckpointType(settings.checkpointType) }),
    },
    firmware: {
      ...specification.firmware,
      ...(settings.bootOrder === undefined ? {} : { bootOrder: validBootOrder(settings.bootOrder, specification) }),
    },
  };
  const tooLate = given.filter((key) => WHEN[key] === 'off' && !isSame(specification, changed, key));
  if (state !== 'Off' && tooLate.length > 0) {
    throw new HvError(
      'invalid-state',
      `cannot change the ${tooLate.map(nameOf).join(' and the ')} of "${specification.name}": it is ${state}`,
      {
        detail: { vm: specification.name, state, settings: tooLate, legalStates: ['Off'] },
        hint: state === 'Saved' ? 'Start it and stop it, or force-stop it.' : 'Stop it first.',
      },
    );
  }
  return changed;
}

function isSame(before: VmSpecification, after: VmSpecification, key: keyof VmSettings): boolean {
  return (key === 'processorCount' || key === 'memoryBytes') && before[key] === after[key];
}

function nameOf(key: keyof VmSettings): string {
  return key === 'processorCount' ? 'processors' : key === 'memoryBytes' ? 'memory' : key;
}

function validNotes(notes: string): string {
  if (typeof notes === 'string' && notes.length <= MAX_NOTES && !/\p{Cs}/u.test(notes)) return notes;
  throw new HvError('invalid-argument', `the notes are longer than ${MAX_NOTES} characters, or are no text`, {
    detail: { what: 'notes', maximum: MAX_NOTES },
  });
}

function validGroups(groups: readonly string[]): readonly string[] {
  const trimmed = [...new Set(groups.map((name) => name.normalize('NFC').trim()))];
  const bad = trimmed.find((name) => name === '' || name.length > MAX_GROUP_NAME || /\p{Cc}/u.test(name));
  if (bad !== undefined || trimmed.length > MAX_GROUPS) {
    throw new HvError('invalid-argument', `the group ${JSON.stringify(bad ?? trimmed.at(-1))} is not possible`, {
      detail: { what: 'group', value: bad ?? null, maximum: MAX_GROUPS },
      hint: `Names of 1 to ${MAX_GROUP_NAME} characters, at most ${MAX_GROUPS} of them.`,
    });
  }
  return trimmed;
}

function validCheckpointType(type: CheckpointType): CheckpointType {
  if (CHECKPOINT_TYPES.includes(type)) return type;
  throw new HvError('invalid-argument', `the checkpoint type ${JSON.stringify(type)} is unknown`, {
    detail: { what: 'checkpoint type', value: type, choices: [...CHECKPOINT_TYPES] },
  });
}

function validBootOrder(order: readonly BootDevice[], specification: VmSpecification): readonly BootDevice[] {
  const { hardDiskDrives, dvdDrives } = specification;
  const known = new Map<string, BootDevice['kind']>([
    ...hardDiskDrives.map(({ id }) => [id, 'HardDiskDrive'] as const),
    ...dvdDrives.map(({ id }) => [id, 'DvdDrive'] as const),
  ]);
  for (const [index, { kind, id }] of order.entries()) {
    if (known.get(id) === kind && order.findIndex((other) => other.id === id) === index) continue;
    throw new HvError('invalid-argument', `"${specification.name}" cannot boot from ${kind} ${id} in this place`, {
      detail: { what: 'boot order', kind, id },
      hint: 'Name each of its drives once at most; booting from the network is not supported.',
    });
  }
  return order;
}
