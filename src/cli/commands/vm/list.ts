import { defineCommand } from '../../definition.ts';
import type { Style } from '../../output/output.ts';
import { showBytes, showSeconds } from '../../output/units.ts';

const STATE_STYLES: Readonly<Record<string, Style>> = {
  Running: 'green',
  Paused: 'yellow',
  Saved: 'cyan',
  Off: 'dim',
  Unknown: 'red',
};

const HAS_UPTIME: ReadonlySet<string> = new Set(['Running', 'Pausing', 'Paused', 'Resuming', 'Saving', 'Stopping']);

export const command = defineCommand({
  name: 'vm list',
  summary: 'List the machines of this host',
  description:
    'A table on a terminal; elsewhere one line a machine, its cells separated by tabs. --json prints one array. A machine whose definition is damaged is told on standard error, after the others, with status 1.',
  examples: ['vm list', 'vm list --json | jq -r \'.[] | select(.state == "Running").name\''],
  changes: false,
  async run({ open, output }) {
    const hv = await open();
    await output.list(
      await hv.listVmSummaries(),
      [
        { title: 'Name', text: (vm) => vm.name },
        { title: 'State', text: (vm) => vm.state, style: (vm) => STATE_STYLES[vm.state] },
        {
          title: 'Uptime',
          align: 'right',
          text: (vm) => (HAS_UPTIME.has(vm.state) ? showSeconds(vm.uptimeSeconds) : '-'),
        },
        { title: 'vCPU', align: 'right', text: (vm) => String(vm.processorCount) },
        { title: 'Memory', align: 'right', text: (vm) => showBytes(vm.memoryBytes) },
        { title: 'Gen', align: 'right', text: (vm) => String(vm.generation) },
        { title: 'Id', text: (vm) => vm.id.slice(0, 8), style: () => 'dim' },
      ],
      'No machines yet. Make one: hv vm create <name>',
    );
    // What is shown is right; that it is not all must not go unnoticed.
    const [unreadable] = await hv.unreadableVms();
    if (unreadable) throw unreadable;
    return undefined;
  },
});
