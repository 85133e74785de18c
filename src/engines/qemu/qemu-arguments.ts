import { invariant } from '../../errors/index.ts';
import { DEFAULT_SWITCH, type NetworkAdapter, type VmSpecification } from '../../model/index.ts';
import type { JsonObject } from '../../protocols/qmp/index.ts';
import { bootIndexes, diskDevice, diskNodes, dvdDevice, mediumNodes, scsiControllers } from './drive-devices.ts';
import { SOCKETS } from './sockets.ts';

/** Everything that becomes QEMU's command line. No text that a person typed is among it: names stay outside. */
export interface QemuLaunch {
  readonly vmId: string;
  readonly specification: VmSpecification;
  readonly machineType: string;
  readonly acceleration: 'kvm' | 'tcg';
  /** Sockets lie here. */
  readonly runFolder: string;
  /** Relative to QEMU's working folder. */
  readonly serialLog: string;
  readonly firmware: { readonly code: string; readonly variables: string } | null;
  /** Wait for a memory state instead of booting. */
  readonly incoming: boolean;
}

/** QEMU's names for the guest agent's channel. */
export const AGENT_CHANNEL = 'agent0';
export const AGENT_PORT = 'agentport0';

/** The machine version to pin, for this generation and QEMU. */
export function machineTypeFor(generation: 1 | 2, version: { readonly major: number; readonly minor: number }): string {
  return `pc-${generation === 1 ? 'i440fx' : 'q35'}-${version.major}.${version.minor}`;
}

/** Builds the argument list. Devices are given as JSON, so that nothing needs QEMU's own escaping but the few paths in chardevs. */
export function qemuArguments(launch: QemuLaunch): string[] {
  const { specification } = launch;
  const args = [
    '-nodefaults',
    '-no-user-config',
    '-display',
    'none',
    '-no-shutdown',
    '-action',
    'panic=none',
    '-S',
    '-name',
    `hv-${launch.vmId}`,
    '-uuid',
    launch.vmId,
    '-sandbox',
    'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny',
    '-accel',
    launch.acceleration === 'kvm' ? 'kvm' : 'tcg,thread=multi',
    '-cpu',
    launch.acceleration === 'kvm' ? 'host' : 'max',
    '-machine',
    machine(launch),
    '-smp',
    String(specification.processorCount),
    '-m',
    `size=${specification.memoryBytes / 2 ** 20}M`,
    '-rtc',
    specification.guest === 'windows' ? 'base=localtime,driftfix=slew' : 'base=utc',
    '-chardev',
    `socket,id=qmp,path=${escapeOption(`${launch.runFolder}/${SOCKETS.qmp}`)},server=on,wait=off`,
    '-mon',
    'chardev=qmp,mode=control',
    '-chardev',
    `socket,id=serial0,path=${escapeOption(`${launch.runFolder}/${SOCKETS.serial}`)},server=on,wait=off,logfile=${escapeOption(launch.serialLog)},logappend=on`,
    '-device',
    device({ driver: 'isa-serial', chardev: 'serial0', id: 'com1' }),
    '-device',
    device({ driver: 'VGA', id: 'video0' }),
    '-vnc',
    `unix:${escapeOption(`${launch.runFolder}/${SOCKETS.vnc}`)}`,
    // How a guest's kernel says that it crashed; what then is its own affair.
    '-device',
    device({ driver: 'pvpanic', id: 'panic0' }),
  ]; // prettier-ignore
  if (launch.firmware) args.push(...firmwareBlocks(launch.firmware));
  args.push(
    ...guestChannel(launch),
    ...drives(launch),
    ...specification.networkAdapters.flatMap((adapter) => network(adapter, launch)),
  );
  if (specification.guest === 'linux') {
    args.push('-object', device({ 'qom-type': 'rng-random', id: 'rng0', filename: '/dev/urandom' }));
    args.push('-device', device({ driver: 'virtio-rng-pci', rng: 'rng0', id: 'rngdev0' }));
  }
  if (launch.incoming) args.push('-incoming', 'defer');
  return args;
}

function machine(launch: QemuLaunch): string {
  const parts = [launch.machineType, 'usb=off', 'vmport=off', 'dump-guest-core=off'];
  if (launch.specification.generation === 2)
    parts.push('smm=off', 'pflash0=firmware-code', 'pflash1=firmware-variables');
  return parts.join(',');
}

function firmwareBlocks(firmware: { readonly code: string; readonly variables: string }): string[] {
  return [
    '-blockdev',
    device({
      driver: 'raw',
      'node-name': 'firmware-code',
      'read-only': true,
      file: { driver: 'file', filename: firmware.code },
    }),
    '-blockdev',
    device({
      driver: 'raw',
      'node-name': 'firmware-variables',
      file: { driver: 'file', filename: firmware.variables },
    }),
  ]; // prettier-ignore
}

/** The channel of the guest agent; a Windows guest finds it once the virtio drivers are there. */
function guestChannel(launch: QemuLaunch): string[] {
  return [
    '-chardev',
    `socket,id=${AGENT_CHANNEL},path=${escapeOption(`${launch.runFolder}/${SOCKETS.agent}`)},server=on,wait=off`,
    '-device',
    device({ driver: 'virtio-serial-pci', id: 'channels0' }),
    '-device',
    device({
      driver: 'virtserialport',
      bus: 'channels0.0',
      chardev: AGENT_CHANNEL,
      name: 'org.qemu.guest_agent.0',
      id: AGENT_PORT,
    }),
  ]; // prettier-ignore
}

function drives(launch: QemuLaunch): string[] {
  const { specification, runFolder } = launch;
  const order = bootIndexes(specification);
  const args = scsiControllers(specification).flatMap((controller) => ['-device', device(controller)]);
  const add = (nodes: readonly JsonObject[], drive: JsonObject): void => {
    for (const node of nodes) args.push('-blockdev', device(node));
    const bootindex = order.get(String(drive.id));
    args.push('-device', device({ ...drive, ...(bootindex === undefined ? {} : { bootindex }) }));
  };
  for (const drive of specification.hardDiskDrives) add(diskNodes(drive, runFolder), diskDevice(drive, specification));
  for (const dvd of specification.dvdDrives) add(mediumNodes(dvd, runFolder), dvdDevice(dvd, specification));
  return args;
}

function network(adapter: NetworkAdapter, launch: QemuLaunch): string[] {
  const short = adapter.id.replaceAll('-', '').slice(0, 24);
  const backend = `net${short}`;
  const nic: Record<string, string | number> = {
    driver: networkModel(launch.specification),
    mac: adapter.macAddress,
    id: `nic${short}`,
    // Nothing boots from the network, so no option ROM need be found, loaded and run.
    romfile: '',
  };
  if (adapter.switchName === null)
    return [
      '-netdev',
      device({ type: 'hubport', id: backend, hubid: hubNumber(launch, adapter) }),
      '-device',
      device({ ...nic, netdev: backend }),
    ];
  invariant(adapter.switchName === DEFAULT_SWITCH, `switch ${adapter.switchName} is known to the engine`);
  return ['-netdev', device({ type: 'user', id: backend }), '-device', device({ ...nic, netdev: backend })];
}

/** An adapter that is connected to nothing sits alone on a hub of its own. */
function hubNumber(launch: QemuLaunch, adapter: NetworkAdapter): number {
  return launch.specification.networkAdapters.indexOf(adapter) + 1;
}

function networkModel(specification: VmSpecification): string {
  if (specification.guest === 'linux') return 'virtio-net-pci';
  return specification.generation === 2 ? 'e1000e' : 'e1000';
}

function device(properties: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(properties);
}

/** In QEMU's option lists a comma ends a value; doubled, it stands for itself. */
export function escapeOption(value: string): string {
  return value.replaceAll(',', ',,');
}
