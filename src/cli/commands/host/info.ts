import { defineCommand } from '../../definition.ts';
import { showBytes } from '../../output/units.ts';

export const command = defineCommand({
  name: 'host info',
  summary: 'Show this host: processors, memory, engine, default paths',
  examples: ['host info', 'host info --json'],
  changes: false,
  async run({ open, output }) {
    const host = await (await open()).hostInfo();
    await output.result(host, () =>
      output.facts([
        ['Computer name', host.computerName, 'bold'],
        ['Operating system', host.operatingSystem],
        ['Engine', `${host.engine} ${host.engineVersion ?? '(not installed: see hv doctor)'}`],
        ['Acceleration', host.acceleration],
        ['Logical processors', String(host.logicalProcessorCount)],
        ['Memory', `${showBytes(host.memoryCapacityBytes)}, ${showBytes(host.memoryAvailableBytes)} available`],
        ['Machines are kept in', host.vmPath],
        ['New disks are put in', host.vhdPath],
      ]),
    );
    return undefined;
  },
});
