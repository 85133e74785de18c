import { isHvError } from '../../errors/index.ts';
import { defineCommand, flag, option } from '../definition.ts';
import type { HostEvent } from '../nouns.ts';
import { terminalLine } from '../output/terminal-text.ts';
import { showTime } from '../output/units.ts';
import { countOf } from '../values/choice.ts';
import { parseMoment } from '../values/moment.ts';

export const command = defineCommand({
  name: 'events',
  summary: 'Show what happened on this host, or follow what happens',
  description:
    'States of machines, disk errors, panics of guests, and what commands did. With --json an array; with --follow one object a line.',
  options: {
    follow: flag('-f, --follow', 'Go on with what happens, from every machine and every process, until Ctrl-C'),
    vm: option('--vm <vm>', 'Only of this machine'),
    since: option('--since <time>', 'From this moment on: 2026-01-31T17:05:00Z, or how long ago: 10m', parseMoment),
    last: option('-n, --last <count>', 'Only the last so many', countOf('events')),
  },
  examples: ['events --last 20', 'events --follow --json', 'events --vm web1 --since 1h'],
  changes: false,
  async run({ options, open, output, signal }) {
    const hv = await open();
    const vmId = options.vm === undefined ? undefined : (await hv.getVm(options.vm)).id;
    const { since, last } = options;
    if (!options.follow) {
      const events = await hv.listEvents({ vmId, since, last });
      await output.list(
        events,
        [
          { title: 'Time', text: ({ time }) => showTime(time) },
          { title: 'Machine', text: ({ vmName, vmId: id }) => vmName ?? id ?? '-' },
          { title: 'Event', text: describeEvent },
        ],
        'Nothing has been written down yet.',
      );
      return undefined;
    }
    const from = last === undefined ? since : undefined;
    const shown = last === undefined ? [] : await hv.listEvents({ vmId, since, last });
    for (const event of shown) output.line(event, () => lineOf(event));
    try {
      const following = { signal, vmId, ...(from === undefined ? {} : { since: from }) };
      for await (const event of hv.followEvents(following)) output.line(event, () => lineOf(event));
    } catch (error) {
      if (!isHvError(error, 'aborted')) throw error;
    }
    return undefined;
  },
});

function lineOf(event: HostEvent): string {
  return terminalLine(`${showTime(event.time)}  ${event.vmName ?? event.vmId ?? '-'}  ${describeEvent(event)}`);
}

/** One event for people. */
export function describeEvent(event: HostEvent): string {
  switch (event.kind) {
    case 'state':
      return event.reason === null ? event.state : `${event.state}: ${event.reason}`;
    case 'disk-error':
      return event.noSpace
        ? 'no space is left on the host for one of its disks: it waits'
        : `one of its disks failed on the host (${event.operation})`;
    case 'guest-panic':
      return "the guest's kernel crashed";
    case 'guest-reset':
      return 'the guest restarted';
    case 'guest-agent':
      return event.connected ? "the guest's agent is there" : "the guest's agent is gone";
    case 'operation': {
      const what = event.subject === null ? event.operation : `${event.operation} ${event.subject}`;
      if (event.phase === 'begin') return `${what} begins`;
      return event.errorCode === null ? `${what}: ${event.outcome}` : `${what}: ${event.outcome} (${event.errorCode})`;
    }
    default:
      return event satisfies never;
  }
}
