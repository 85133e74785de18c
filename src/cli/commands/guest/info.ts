import { defineCommand } from '../../definition.ts';
import { showBytes, showTime } from '../../output/units.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'guest info',
  summary: 'Show what a guest says about itself',
  arguments: { vm: VM_ARGUMENT },
  examples: ['guest info web1', 'guest info web1 --json'],
  changes: false,
  async run({ args, open, output, signal }) {
    const vm = await (await open()).getVm(args.vm);
    const info = await vm.guest.info({ signal });
    const { operatingSystem, capabilities } = info;
    const can = Object.entries(capabilities).flatMap(([name, isThere]) => (isThere ? [name] : []));
    await output.result({ id: vm.id, name: vm.name, ...info }, () =>
      output.facts([
        ['Host name', info.hostName, 'bold'],
        ['System', operatingSystem.name],
        ['Version', operatingSystem.version],
        [
          'Kernel',
          [operatingSystem.kernelRelease, operatingSystem.machine].filter((each) => each !== null).join(' ') || null,
        ],
        ['Clock', info.time === null ? null : showTime(info.time)],
        ['Time zone', info.timeZone && `${info.timeZone.name ?? ''} ${info.timeZone.offsetSeconds / 3600} h`.trim()],
        ['Users', info.users.map(({ user, loginTime }) => `${user} since ${showTime(loginTime)}`).join('\n') || 'none'],
        ['File systems', info.fileSystems.map(showFileSystem).join('\n') || 'none'],
        ['Agent', info.agentVersion],
        ['Agent can', can.join(' ') || 'nothing'],
      ]),
    );
    return undefined;
  },
});

function showFileSystem(each: {
  readonly mountPoint: string;
  readonly type: string;
  readonly device: string;
  readonly usedBytes: number | null;
  readonly totalBytes: number | null;
}): string {
  const { mountPoint, type, device, usedBytes, totalBytes } = each;
  const use = usedBytes === null || totalBytes === null ? '' : `  ${showBytes(usedBytes)} of ${showBytes(totalBytes)}`;
  return `${mountPoint}  ${type} on ${device}${use}`;
}
