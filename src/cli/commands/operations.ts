import { defineCommand, option } from '../definition.ts';
import type { OperationInfo } from '../nouns.ts';
import { showTime } from '../output/units.ts';
import { countOf } from '../values/choice.ts';
import { parseMoment } from '../values/moment.ts';

export const command = defineCommand({
  name: 'operations',
  summary: 'Show who changed what on this host, when, and how it ended',
  description: 'An operation is `interrupted` where its process is gone and never said how it ended.',
  options: {
    vm: option('--vm <vm>', 'Only of this machine'),
    since: option('--since <time>', 'From this moment on: 2026-01-31T17:05:00Z, or how long ago: 10m', parseMoment),
    last: option('-n, --last <count>', 'Only the last so many', countOf('operations')),
  },
  examples: ['operations --last 20', 'operations --vm web1 --since 24h', 'operations --json'],
  changes: false,
  async run({ options, open, output }) {
    const hv = await open();
    const vmId = options.vm === undefined ? undefined : (await hv.getVm(options.vm)).id;
    const operations = await hv.listOperations({ vmId, since: options.since, last: options.last });
    await output.list(
      operations,
      [
        { title: 'Time', text: ({ startTime }) => showTime(startTime) },
        { title: 'User', text: userOf },
        { title: 'Operation', text: ({ operation }) => operation },
        { title: 'Machine', text: ({ vmName, vmId: id }) => vmName ?? id ?? '-' },
        { title: 'About', text: ({ subject }) => subject ?? '-' },
        {
          title: 'Outcome',
          text: ({ outcome, errorCode }) => (errorCode === null ? outcome : `${outcome} (${errorCode})`),
          style: ({ outcome }) => (outcome === 'done' ? 'green' : outcome === 'running' ? undefined : 'red'),
        },
        { title: 'Took', align: 'right', text: ({ durationMs }) => (durationMs === null ? '-' : `${durationMs} ms`) },
      ],
      'Nothing has been changed yet.',
    );
    return undefined;
  },
});

function userOf({ user }: OperationInfo): string {
  const name = user.name ?? String(user.uid);
  return user.behalfOf === null ? name : `${name} (${user.behalfOf})`;
}
