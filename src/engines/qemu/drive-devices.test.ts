import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import {
  DEFAULT_SETTINGS,
  type DvdDrive,
  type HardDiskDrive,
  NO_QOS,
  type VmSpecification,
} from '../../model/index.ts';
import {
  bootIndexes,
  diskDevice,
  driveNames,
  dvdDevice,
  dvdNames,
  mediumNodes,
  scsiControllers,
} from './drive-devices.ts';

function disk(controllerType: 'IDE' | 'SCSI', controllerNumber: number, controllerLocation: number): HardDiskDrive {
  const id = randomUUID();
  return {
    id,
    controllerType,
    controllerNumber,
    controllerLocation,
    path: `/x/${id}.vhdx`,
    isPhysical: false,
    qos: NO_QOS,
  };
}

function dvd(controllerType: 'IDE' | 'SCSI', controllerLocation: number, path: string | null): DvdDrive {
  return { id: randomUUID(), controllerType, controllerNumber: 0, controllerLocation, path };
}

function specification(parts: Partial<VmSpecification>): VmSpecification {
  return {
    ...DEFAULT_SETTINGS,
    name: 'x',
    generation: 2,
    guest: 'linux',
    processorCount: 1,
    memoryBytes: 2 ** 28,
    hardDiskDrives: [],
    networkAdapters: [],
    ...parts,
  };
}

describe('drives as QEMU has them', () => {
  it('have a place of their own for each of 64 locations on each of four controllers', () => {
    const linux = specification({ scsiControllerCount: 4 });
    const places = new Set<string>();
    for (let number = 0; number < 4; number++) {
      for (let location = 0; location < 64; location++) {
        const { bus, 'scsi-id': target, lun } = diskDevice(disk('SCSI', number, location), linux);
        places.add(`${bus} ${target} ${lun}`);
      }
    }
    expect(places.size).toBe(256);
    expect(scsiControllers(linux).map(({ id }) => id)).toEqual(['scsi0', 'scsi1', 'scsi2', 'scsi3']);
  });

  it('have the controllers that the definition counts, and a Windows guest none that it does not drive', () => {
    expect(scsiControllers(specification({ scsiControllerCount: 0 }))).toEqual([]);
    expect(scsiControllers(specification({ guest: 'windows', scsiControllerCount: 4 }))).toEqual([]);
    expect(diskDevice(disk('SCSI', 0, 5), specification({ guest: 'windows' }))).toMatchObject({
      driver: 'ide-hd',
      bus: 'ide.5',
    });
    expect(dvdDevice(dvd('IDE', 1, null), specification({ generation: 1 }))).toMatchObject({
      driver: 'ide-cd',
      bus: 'ide.0',
      unit: 1,
    });
  });

  it('tell one image from another by their names, which QEMU takes', () => {
    const drive = dvd('SCSI', 1, '/isos/one.iso');
    const [one, other] = [dvdNames(drive).medium, dvdNames({ ...drive, path: '/isos/two.iso' }).medium];
    expect(one?.node).not.toBe(other?.node);
    expect(one?.export).not.toBe(other?.export);
    for (const name of [one?.node, one?.nbd]) expect(name?.length).toBeLessThanOrEqual(31);
    expect(mediumNodes({ ...drive, path: null }, '/run')).toEqual([]);
    expect(JSON.stringify(mediumNodes(drive, '/run'))).not.toContain('one.iso');
    for (const node of mediumNodes(drive, '/run')) expect(node['read-only']).toBe(true);
  });

  it('boot in the order that the firmware is told, then hard disks before DVD drives', () => {
    const [first, second] = [disk('SCSI', 0, 0), disk('SCSI', 0, 1)];
    const disc = dvd('SCSI', 2, null);
    const order = (firmware: Partial<VmSpecification['firmware']>): string[] => {
      const settings = { ...DEFAULT_SETTINGS.firmware, ...firmware };
      const drives = { hardDiskDrives: [first, second], dvdDrives: [disc], firmware: settings };
      const indexes = [...bootIndexes(specification(drives))];
      expect(indexes.map(([, index]) => index)).toEqual([0, 1, 2]);
      return indexes.map(([device]) => device);
    };
    const [one, two, three] = [driveNames(first).device, driveNames(second).device, dvdNames(disc).device];
    expect(order({})).toEqual([one, two, three]);
    expect(order({ bootOrder: [{ kind: 'DvdDrive', id: disc.id }] })).toEqual([three, one, two]);
    const next = {
      nextBoot: { kind: 'HardDiskDrive', id: second.id },
      bootOrder: [{ kind: 'DvdDrive', id: disc.id }],
    } as const;
    expect(order(next)).toEqual([two, three, one]);
    expect(order({ bootOrder: [{ kind: 'NetworkAdapter', id: randomUUID() }] })).toEqual([one, two, three]);
  });
});
