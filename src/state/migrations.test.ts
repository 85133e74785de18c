import { describe, expect, it } from 'vitest';
import { parseDefinition } from './definition.ts';
import { bringUp, type Migrations } from './migrations.ts';

const STEPS: Migrations = {
  1: ({ title, ...rest }) => ({ ...rest, name: title }),
  2: (old) => ({ ...old, colour: 'blue' }),
};

describe('bringUp', () => {
  it('takes every step from the version of the file to the present one', () => {
    const one = { schemaVersion: 1, title: 'a' };
    expect(bringUp(one, 'vm.json', STEPS, 3)).toEqual({ schemaVersion: 3, name: 'a', colour: 'blue' });
    expect(one).toEqual({ schemaVersion: 1, title: 'a' });
  });

  it('leaves a file of the present version as it is', () => {
    const three = { schemaVersion: 3, name: 'a' };
    expect(bringUp(three, 'vm.json', STEPS, 3)).toBe(three);
  });

  it('says that a later hv wrote the file, instead of calling it damaged', () => {
    expect(() => bringUp({ schemaVersion: 4 }, 'vm.json', STEPS, 3)).toThrow(
      expect.objectContaining({ code: 'unsupported', detail: { path: 'vm.json', schemaVersion: 4, supported: 3 } }),
    );
  });

  it.each([null, 7, 'x', [], {}, { schemaVersion: 'one' }, { schemaVersion: 0 }, { schemaVersion: 1.5 }])(
    'leaves %j to the check that follows',
    (value) => {
      expect(bringUp(value, 'vm.json', STEPS, 3)).toBe(value);
    },
  );
});

/** As hv wrote it before machines had settings of their own. */
const VERSION_1 = {
  schemaVersion: 1,
  id: 'b4c1c9b0-6f0b-4d0e-9a58-1f2f7b3c4d5e',
  creationTime: '2026-11-01T00:00:00.000Z',
  user: null,
  dataPath: '/var/lib/hv/machines/b4c1c9b0/data',
  machineType: 'pc-q35-7.2',
  nvramFile: 'nvram.fd',
  specification: {
    name: 'web1',
    generation: 2,
    guest: 'linux',
    processorCount: 2,
    memoryBytes: 2147483648,
    hardDiskDrives: [
      {
        id: '0d1f6f0a-3c55-4f5c-8b46-5a3a6f0f9d11',
        controllerType: 'SCSI',
        controllerNumber: 0,
        controllerLocation: 0,
        path: '/disks/web1.vhdx',
      },
    ],
    networkAdapters: [],
    allowedParents: [],
  },
  savedState: null,
  snapshots: [] as unknown[],
  currentSnapshotId: null,
  attached: {},
  parents: {},
  pending: null,
};

describe('a definition of version 1', () => {
  it('is a machine that behaves as before: it starts and stops only when told to, and boots as it did', () => {
    const parsed = parseDefinition(bringUp(VERSION_1, 'vm.json'));
    if ('problem' in parsed) throw new Error(parsed.problem);
    const { specification, tpmFile } = parsed.definition;
    expect(tpmFile).toBeNull();
    expect(specification).toMatchObject({
      ...VERSION_1.specification,
      automaticActions: { start: 'Nothing', stop: 'TurnOff' },
      firmware: { bootOrder: [], secureBoot: false },
      dvdDrives: [],
    });
  });

  it('keeps the controllers that it had, so that a saved one still fits its memory', () => {
    const ide = VERSION_1.specification.hardDiskDrives.map((drive) => ({ ...drive, controllerType: 'IDE' }));
    const count = (hardDiskDrives: unknown[]): number => {
      const specification = { ...VERSION_1.specification, hardDiskDrives };
      const parsed = parseDefinition(bringUp({ ...VERSION_1, specification }, 'vm.json'));
      if ('problem' in parsed) throw new Error(parsed.problem);
      return parsed.definition.specification.scsiControllerCount;
    };
    expect(count(VERSION_1.specification.hardDiskDrives)).toBe(1);
    expect(count(ide)).toBe(0);
    expect(count([])).toBe(0);
  });

  it('has its snapshots brought up too', () => {
    const snapshot = {
      id: '6f1d1f0a-3c55-4f5c-8b46-5a3a6f0f9d11',
      name: 's',
      type: 'Standard',
      creationTime: VERSION_1.creationTime,
      parentId: null,
      vmState: 'Off',
      specification: VERSION_1.specification,
      savedState: null,
      nvramFile: null,
    };
    const parsed = parseDefinition(bringUp({ ...VERSION_1, snapshots: [snapshot] }, 'vm.json'));
    if ('problem' in parsed) throw new Error(parsed.problem);
    expect(parsed.definition.snapshots[0]?.specification.hardDiskDrives[0]).toMatchObject({ isPhysical: false });
  });

  it.each([
    { specification: 7 },
    { snapshots: 'x' },
    { snapshots: [null] },
    { specification: { ...VERSION_1.specification, hardDiskDrives: 1 } },
  ])('that is damaged is told so: %j', (damage) => {
    expect(parseDefinition(bringUp({ ...VERSION_1, ...damage }, 'vm.json'))).toHaveProperty('problem');
  });
});
