import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { DEFAULT_SETTINGS, DEFAULT_SWITCH, NO_QOS, type VmSpecification } from '../../model/index.ts';
import { driveNames } from './drive-devices.ts';
import { escapeOption, machineTypeFor, type QemuLaunch, qemuArguments } from './qemu-arguments.ts';

const DRIVE = randomUUID();
const VM = randomUUID();

function specification(parts: Partial<VmSpecification> = {}): VmSpecification {
  return {
    ...DEFAULT_SETTINGS,
    name: 'x,y=z"\' -drive file=/etc/shadow',
    generation: 2,
    guest: 'linux',
    processorCount: 3,
    memoryBytes: 768 * 2 ** 20,
    hardDiskDrives: [
      {
        id: DRIVE,
        controllerType: 'SCSI',
        controllerNumber: 0,
        controllerLocation: 0,
        path: '/disks/secret name.vhdx',
        isPhysical: false,
        qos: NO_QOS,
      },
    ],
    networkAdapters: [
      { id: randomUUID(), name: 'Adapter', macAddress: '00:15:5d:01:02:03', switchName: DEFAULT_SWITCH },
      { id: randomUUID(), name: 'Loose', macAddress: '00:15:5d:01:02:04', switchName: null },
    ],
    ...parts,
  };
}

function launch(parts: Partial<VmSpecification> = {}, more: Partial<QemuLaunch> = {}): string[] {
  return qemuArguments({
    vmId: VM,
    specification: specification(parts),
    machineType: 'pc-q35-7.2',
    acceleration: 'tcg',
    runFolder: '/run/hv/a,b',
    serialLog: 'serial.log',
    firmware: { code: '/fw/code,1.fd', variables: 'nvram.fd' },
    incoming: false,
    ...more,
  });
}

/** The values of an option, those in JSON as objects. */
function values(args: readonly string[], option: string): Record<string, unknown>[] {
  return args.flatMap((arg, at) => (args[at - 1] === option && arg.startsWith('{') ? [JSON.parse(arg)] : []));
}

describe('qemuArguments', () => {
  it('takes nothing that a person typed: neither the name nor the disk’s path', () => {
    const text = launch().join('\n');
    for (const typed of ['shadow', 'secret', 'Adapter', 'Loose']) expect(text).not.toContain(typed);
  });

  it('doubles commas in the paths that are no JSON', () => {
    const args = launch();
    for (const name of ['qmp', 'serial', 'agent']) {
      expect(args.some((arg) => arg.includes(`path=/run/hv/a,,b/${name}.sock`))).toBe(true);
    }
    expect(escapeOption('a,b,,c')).toBe('a,,b,,,,c');
  });

  it('starts stopped, without defaults, in a sandbox that cannot spawn', () => {
    const args = launch();
    for (const arg of ['-S', '-nodefaults', '-no-user-config', '-no-shutdown']) expect(args).toContain(arg);
    const sandbox = args[args.indexOf('-sandbox') + 1];
    expect(sandbox).toBe('on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny');
  });

  it('serves each disk over NBD, waits for a new server, and stops the machine on the host’s errors', () => {
    const args = launch();
    const names = driveNames({ id: DRIVE });
    const nbd = values(args, '-blockdev').find((node) => node['node-name'] === names.nbd);
    expect(nbd).toMatchObject({ driver: 'nbd', export: DRIVE, server: { path: '/run/hv/a,b/nbd.sock' } });
    expect(nbd?.['reconnect-delay']).toBeGreaterThan(3600);
    const device = values(args, '-device').find((each) => each.id === names.device);
    expect(device).toMatchObject({
      driver: 'scsi-hd',
      drive: names.node,
      werror: 'stop',
      rerror: 'stop',
      bootindex: 0,
    });
    expect(Object.values(names).every((name) => name.length <= 31)).toBe(true); // QEMU's limit for node names
  });

  it.each([
    [1, 'linux', 'IDE', 'ide-hd', 'virtio-net-pci'],
    [2, 'linux', 'SCSI', 'scsi-hd', 'virtio-net-pci'],
    [1, 'windows', 'IDE', 'ide-hd', 'e1000'],
    [2, 'windows', 'SCSI', 'ide-hd', 'e1000e'],
  ] as const)(
    'gives a Generation %i %s guest on %s devices that it drives',
    (generation, guest, controllerType, disk, nic) => {
      const [drive] = specification().hardDiskDrives;
      const hardDiskDrives = drive ? [{ ...drive, controllerType }] : [];
      const devices = values(launch({ generation, guest, hardDiskDrives }), '-device').map((device) => device.driver);
      expect(devices).toContain(disk);
      expect(devices.filter((driver) => driver === nic)).toHaveLength(2);
      expect(devices.includes('virtio-rng-pci')).toBe(guest === 'linux');
    },
  );

  it('connects an adapter to the built-in switch or to nothing', () => {
    expect(values(launch(), '-netdev').map((net) => net.type)).toEqual(['user', 'hubport']);
  });

  it('waits for a memory state only when there is one', () => {
    expect(launch()).not.toContain('-incoming');
    expect(launch({}, { incoming: true }).slice(-2)).toEqual(['-incoming', 'defer']);
  });

  it('pins the machine type of the generation and of this QEMU', () => {
    expect(machineTypeFor(1, { major: 8, minor: 2 })).toBe('pc-i440fx-8.2');
    expect(machineTypeFor(2, { major: 7, minor: 2 })).toBe('pc-q35-7.2');
  });
});
