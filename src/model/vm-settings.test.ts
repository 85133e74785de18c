import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS } from './default-settings.ts';
import { NO_QOS } from './drives.ts';
import { type VmSettings, withSettings } from './vm-settings.ts';
import type { VmSpecification } from './vm-specification.ts';
import { VM_STATES, type VmState } from './vm-state.ts';

const DISK = randomUUID();
const OLD: VmSpecification = {
  ...DEFAULT_SETTINGS,
  name: 'web1',
  generation: 2,
  guest: 'linux',
  processorCount: 2,
  memoryBytes: 2 ** 30,
  hardDiskDrives: [
    {
      id: DISK,
      controllerType: 'SCSI',
      controllerNumber: 0,
      controllerLocation: 0,
      path: '/disks/a.vhdx',
      isPhysical: false,
      qos: NO_QOS,
    },
  ],
  networkAdapters: [],
};

const codeOf = (settings: unknown, state: VmState = 'Off'): string | undefined => {
  try {
    withSettings(OLD, settings as VmSettings, state);
    return undefined;
  } catch (error) {
    return (error as { code?: string }).code;
  }
};

describe('withSettings', () => {
  it('changes what is given and nothing else', () => {
    expect(withSettings(OLD, {}, 'Running')).toEqual(OLD);
    expect(withSettings(OLD, { processorCount: 4 }, 'Off')).toEqual({ ...OLD, processorCount: 4 });
    expect(withSettings(OLD, { notes: 'a\nb', groups: ['x', ' x ', 'y'] }, 'Running')).toEqual({
      ...OLD,
      notes: 'a\nb',
      groups: ['x', 'y'],
    });
    const order = [{ kind: 'HardDiskDrive', id: DISK }] as const;
    expect(withSettings(OLD, { bootOrder: order }, 'Running').firmware).toEqual({ ...OLD.firmware, bootOrder: order });
    expect(withSettings(OLD, { checkpointType: 'Disabled' }, 'Saved').checkpoints.type).toBe('Disabled');
  });

  it.each(VM_STATES.filter((state) => state !== 'Off'))('leaves processors and memory alone while %s', (state) => {
    expect(codeOf({ processorCount: 3 }, state)).toBe('invalid-state');
    expect(codeOf({ memoryBytes: 2 ** 31 }, state)).toBe('invalid-state');
    expect(codeOf({ notes: 'x', memoryBytes: 2 ** 31 }, state)).toBe('invalid-state');
    expect(codeOf({ processorCount: 2, memoryBytes: 2 ** 30 }, state)).toBeUndefined();
  });

  it.each<[unknown]>([
    [{ processorCount: 0 }],
    [{ memoryBytes: 1 }],
    [{ notes: 'x'.repeat(10_001) }],
    [{ notes: '\ud800' }],
    [{ groups: [''] }],
    [{ groups: ['a\nb'] }],
    [{ groups: Array.from({ length: 101 }, (_, index) => `g${index}`) }],
    [{ checkpointType: 'Sometimes' }],
    [{ bootOrder: [{ kind: 'DvdDrive', id: DISK }] }],
    [{ bootOrder: [{ kind: 'HardDiskDrive', id: randomUUID() }] }],
    [
      {
        bootOrder: [
          { kind: 'HardDiskDrive', id: DISK },
          { kind: 'HardDiskDrive', id: DISK },
        ],
      },
    ],
  ])('refuses %j', (settings) => {
    expect(codeOf(settings)).toBe('invalid-argument');
  });
});
