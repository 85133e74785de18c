import { defineCommand } from '../../definition.ts';
import { showAddress } from '../../doors.ts';
import type { VmInfo } from '../../nouns.ts';
import type { Output } from '../../output/output.ts';
import { showBytes, showSeconds, showTime } from '../../output/units.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'vm info',
  summary: 'Show everything about a machine',
  arguments: { vm: VM_ARGUMENT },
  examples: ['vm info web1', 'vm info web1 --json'],
  changes: false,
  async run({ args, open, output }) {
    const vm = await (await open()).getVm(args.vm);
    const info = await vm.info();
    await output.result(info, () => showVm(info, output));
    return undefined;
  },
});

/** The machine for people. */
export function showVm(info: VmInfo, output: Output): Promise<string> {
  const drives = info.hardDiskDrives.map((drive) => `${showAddress(drive)}  ${drive.path}`);
  const dvds = info.dvdDrives.map((dvd) => `${showAddress(dvd)}  ${dvd.path ?? '(empty)'}`);
  const adapters = info.networkAdapters.map((adapter) =>
    `${adapter.name}  ${adapter.macAddress}  ${adapter.switchName ?? '(not connected)'}  ${adapter.ipAddresses.join(' ')}`.trimEnd(),
  );
  const processes = info.processes && `engine ${info.processes.engine}, worker ${info.processes.worker ?? 'none'}`;
  return output.facts([
    ['Name', info.name, 'bold'],
    ['Id', info.id],
    ['State', info.stateReason === null ? info.state : `${info.state} (${info.stateReason})`],
    ['Uptime', info.uptimeSeconds > 0 ? showSeconds(info.uptimeSeconds) : null],
    ['Guest agent', info.heartbeat],
    ['Generation', String(info.generation)],
    ['Guest', info.guest],
    ['vCPUs', String(info.processorCount)],
    ['Memory', showBytes(info.memoryBytes)],
    ['Acceleration', info.acceleration],
    ['Hard disks', drives.join('\n') || 'none'],
    ['DVD drives', dvds.join('\n') || null],
    ['Network', adapters.join('\n') || 'none'],
    [
      'Snapshots',
      info.checkpoints.type === 'Disabled' ? `${info.snapshotCount}, disabled` : String(info.snapshotCount),
    ],
    ['Groups', info.groups.join(', ') || null],
    ['Notes', info.notes || null],
    ['Created', showTime(info.creationTime)],
    ['Screen (VNC)', info.vncSocketPath],
    ['Definition', info.configurationPath],
    ['Processes', processes],
  ]);
}
