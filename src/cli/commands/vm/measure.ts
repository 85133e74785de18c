import { sleep } from '../../../async/index.ts';
import { isHvError } from '../../../errors/index.ts';
import { defineCommand, flag, option } from '../../definition.ts';
import type { VmMeasurement } from '../../nouns.ts';
import { showBytes, showSeconds } from '../../output/units.ts';
import { parseDuration } from '../../values/duration.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

const INTERVAL_MS = 1000;

/** What changed from one look to the next, per second. */
interface Rates {
  readonly intervalSeconds: number;
  /** Of one processor of the host: 150 is one and a half. */
  readonly processorPercent: number;
  readonly diskReadBytesPerSecond: number;
  readonly diskWrittenBytesPerSecond: number;
  readonly diskOperationsPerSecond: number;
  readonly receivedBytesPerSecond: number;
  readonly sentBytesPerSecond: number;
}

export const command = defineCommand({
  name: 'vm measure',
  summary: 'Show what a running machine uses',
  description:
    'Totals since its start and rates over an interval. Network traffic is what the guest agent counts. With --follow, a line for each interval.',
  arguments: { vm: VM_ARGUMENT },
  options: {
    interval: option('--interval <duration>', 'What rates are measured over (default 1s)', parseDuration),
    follow: flag('-f, --follow', 'Go on, one line for each interval, until Ctrl-C or the machine is off'),
  },
  examples: ['vm measure web1', 'vm measure web1 --follow --interval 5s', 'vm measure web1 --json'],
  changes: false,
  async run({ args, options, open, output, signal }) {
    const vm = await (await open()).getVm(args.vm);
    const intervalMs = options.interval ?? INTERVAL_MS;
    let before = await vm.measure();
    for (;;) {
      const from = performance.now();
      await sleep(intervalMs, { signal });
      let now: VmMeasurement;
      try {
        now = await vm.measure();
      } catch (error) {
        if (options.follow && isHvError(error, 'invalid-state')) return undefined;
        throw error;
      }
      const measured = { ...now, rates: ratesOf(before, now, (performance.now() - from) / 1000) };
      if (!options.follow) {
        await output.result(measured, () => showMeasured(measured, (facts) => output.facts(facts)));
        return undefined;
      }
      output.line(measured, () => lineOf(measured));
      before = now;
    }
  },
});

export function ratesOf(before: VmMeasurement, now: VmMeasurement, seconds: number): Rates {
  const sum = (of: (measured: VmMeasurement) => number): number => Math.max(0, of(now) - of(before)) / seconds;
  const disks = (key: 'readBytes' | 'writtenBytes' | 'readOperations' | 'writeOperations') => (of: VmMeasurement) =>
    of.disks.reduce((total, disk) => total + disk[key], 0);
  const adapters = (key: 'receivedBytes' | 'sentBytes') => (of: VmMeasurement) =>
    of.adapters.reduce((total, adapter) => total + adapter[key], 0);
  return {
    intervalSeconds: rounded(seconds, 3),
    processorPercent: rounded(100 * sum((of) => of.processorSeconds), 1),
    diskReadBytesPerSecond: Math.round(sum(disks('readBytes'))),
    diskWrittenBytesPerSecond: Math.round(sum(disks('writtenBytes'))),
    diskOperationsPerSecond: rounded(sum(disks('readOperations')) + sum(disks('writeOperations')), 1),
    receivedBytesPerSecond: Math.round(sum(adapters('receivedBytes'))),
    sentBytesPerSecond: Math.round(sum(adapters('sentBytes'))),
  };
}

function rounded(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

type Measured = VmMeasurement & { readonly rates: Rates };

function showMeasured(
  measured: Measured,
  facts: (rows: readonly (readonly [string, string | null])[]) => Promise<string>,
): Promise<string> {
  const { rates } = measured;
  const disks = measured.disks.map(
    (disk) =>
      `${disk.driveId.slice(0, 8)}  read ${showBytes(disk.readBytes)} in ${disk.readOperations}, written ${showBytes(disk.writtenBytes)} in ${disk.writeOperations}`,
  );
  const adapters = measured.adapters.map(
    (adapter) =>
      `${adapter.macAddress}  received ${showBytes(adapter.receivedBytes)}, sent ${showBytes(adapter.sentBytes)}`,
  );
  return facts([
    ['Uptime', showSeconds(measured.uptimeSeconds)],
    ['Processor', `${rates.processorPercent} % of one, ${measured.processorSeconds.toFixed(1)} s since the start`],
    ['vCPUs', measured.virtualProcessorSeconds.map((seconds) => `${seconds.toFixed(1)} s`).join(', ')],
    ['Memory', `${showBytes(measured.assignedBytes)} assigned, ${showBytes(measured.residentBytes)} held on the host`],
    ['Disks', disks.join('\n') || null],
    [
      'Disk rate',
      `${showBytes(rates.diskReadBytesPerSecond)}/s read, ${showBytes(rates.diskWrittenBytesPerSecond)}/s written`,
    ],
    ['Network', adapters.join('\n') || null],
    [
      'Net rate',
      measured.adapters.length === 0
        ? null
        : `${showBytes(rates.receivedBytesPerSecond)}/s received, ${showBytes(rates.sentBytesPerSecond)}/s sent`,
    ],
  ]);
}

function lineOf({ rates, assignedBytes }: Measured): string {
  return [
    `${rates.processorPercent} % CPU`,
    showBytes(assignedBytes),
    `read ${showBytes(rates.diskReadBytesPerSecond)}/s`,
    `written ${showBytes(rates.diskWrittenBytesPerSecond)}/s`,
    `received ${showBytes(rates.receivedBytesPerSecond)}/s`,
    `sent ${showBytes(rates.sentBytesPerSecond)}/s`,
  ].join('  ');
}
