/**
 * From nothing to a running virtual machine, step by step: what `npm start` runs, and the first thing to read for whoever
 * wants to use hv from a program. It uses the front door alone.
 *
 * Its machine is called first-machine and stays, switched off, when it ends. The next run replaces it, and nothing else.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { buildLinuxTemplate, DEFAULT_SWITCH, HvError, HyperV, isHvError, type Progress, type Vm } from '../index.ts';
import { Story } from './story.ts';

const NAME = 'first-machine';
const GIB = 2 ** 30;
const BOOT_TIMEOUT_MS = 120_000;

const interrupt = new AbortController();
process.once('SIGINT', () => interrupt.abort(new HvError('aborted', 'interrupted')));
process.once('SIGTERM', () => interrupt.abort(new HvError('aborted', 'interrupted')));

const story = new Story(process.stdout);
let running: Vm | undefined;
try {
  await using hv = await HyperV.open();
  try {
    await tell(hv);
  } catch (error) {
    // Whatever went wrong, nothing of ours runs on.
    await running?.forceStop();
    throw error;
  }
} catch (error) {
  story.end();
  const wasInterrupted = interrupt.signal.aborted;
  process.exitCode = wasInterrupted ? 130 : 1;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`\nnpm start: ${wasInterrupted ? 'interrupted; nothing runs on' : message}\n`);
  if (!wasInterrupted && isHvError(error) && error.hint !== undefined) process.stderr.write(`  ${error.hint}\n`);
  if (running && !wasInterrupted) process.stderr.write(`  What the machine said: npx hv vm logs ${running.name}\n`);
}

async function tell(hv: HyperV): Promise<void> {
  const { signal } = interrupt;
  story.title('hv: from nothing to a running virtual machine');

  await story.step('Host', async () => {
    const missing = (await hv.doctor()).filter((finding) => finding.status === 'missing');
    if (missing.length > 0) {
      throw new HvError('missing-dependency', missing.map((finding) => finding.message).join('; '), {
        hint: missing.map((finding) => finding.fix).join('; '),
      });
    }
    const host = await hv.hostInfo();
    const speed = host.acceleration === 'tcg' ? 'no KVM here: its instructions are translated' : host.acceleration;
    return [
      `${host.computerName}: ${host.operatingSystem}, ${host.logicalProcessorCount} processors, ${gib(host.memoryCapacityBytes)}`,
      `Engine: ${host.engine} ${host.engineVersion} (${speed})`,
    ];
  });

  const folder = join((await hv.hostInfo()).vhdPath, NAME);
  await mkdir(folder, { recursive: true });
  await removeEarlier(hv, folder);

  await story.step('Machines', async () => {
    const names = (await hv.listVms()).map((vm) => vm.name);
    return [names.length === 0 ? 'none yet' : names.join(', ')];
  });

  const templatePath = join(folder, 'linux.vhdx');
  await story.step('Template', async (note) => {
    try {
      const template = await buildLinuxTemplate(templatePath, { signal, onProgress: (at) => note(phaseOf(at)) });
      const origin = template.fromCache ? 'from the cache' : 'built from Debian packages, once';
      return [`Linux ${template.kernelVersion}, ${origin}`, templatePath];
    } catch (error) {
      if (!isHvError(error, 'already-exists')) throw error;
      return ['there already', templatePath];
    }
  });

  const name = await freeName(hv);
  const vm = await story.step('Create', async () => {
    const diskPath = await makeDisk(hv, folder, name, templatePath);
    const made = await hv.createVm({ name, generation: 2, memoryBytes: GIB / 2, processorCount: 1, diskPath });
    await writeFile(join(folder, 'machine.json'), JSON.stringify({ id: made.id }));
    const { fileSizeBytes } = await (await hv.getVhd(diskPath)).info();
    return {
      lines: [
        `${made.name}: Generation 2, 1 processor, 512 MiB, on "${DEFAULT_SWITCH}"`,
        `Its disk holds only what differs from the template: ${Math.round(fileSizeBytes / 2 ** 20)} MiB so far`,
      ],
      value: made,
    };
  });

  await story.step('Start', async () => {
    running = vm;
    await vm.start({ signal });
    return [`state: ${await vm.state()}`];
  });

  await story.step('Guest', async (note) => {
    note('booting');
    return [`says: "${await firstWords(vm, signal)}"`];
  });

  await story.step('Network', async () => {
    const hasAddress = await vm.waitFor('ip', { timeoutMs: BOOT_TIMEOUT_MS, signal });
    if (!hasAddress) throw new HvError('timeout', `"${vm.name}" did not get an IP address`);
    return [`the guest's IP address is ${(await vm.ipAddresses()).join(', ')}`];
  });

  await story.step('Screenshot', async () => {
    const path = join(folder, `${name}.png`);
    await writeFile(path, await vm.screenshot());
    return [path];
  });

  await story.step('Snapshot', async () => {
    const snapshot = await vm.createSnapshot('Before update', 'Standard', { signal });
    return [`"${snapshot.name}": disk and memory of the running machine, which runs on`];
  });

  await story.step('Machines', async () => {
    const all = await Promise.all((await hv.listVms()).map((each) => each.info()));
    return all.map(
      (each) =>
        `${each.name}: ${each.state}, up ${Math.round(each.uptimeSeconds)} s, ${each.processorCount} vCPU, ${each.memoryBytes / 2 ** 20} MiB`,
    );
  });

  await story.step('Stop', async () => {
    await vm.stop({ timeoutMs: 60_000, signal });
    running = undefined;
    return [`the guest shut down in order; state: ${await vm.state()}`];
  });

  story.ending('Now try', [
    [`npx hv vm start ${name}`, 'start it again'],
    [`npx hv vm console ${name}`, 'talk to it; leave with Ctrl-]'],
    [`npx hv snapshot apply ${name} "Before update"`, 'bring it back to the snapshot, then start it'],
  ]);
}

/** The machine that an earlier run left, if it is still as that run left it: renamed, it is somebody's. */
async function removeEarlier(hv: HyperV, folder: string): Promise<void> {
  try {
    const { id }: { readonly id: string } = JSON.parse(await readFile(join(folder, 'machine.json'), 'utf8'));
    const vm = await hv.getVm(id);
    if (vm.id !== id || !isOurName(vm.name)) return;
    await story.step('Earlier run', async () => {
      if ((await vm.state()) !== 'Off') await vm.forceStop();
      await vm.delete({ withDisks: true });
      return [`its ${vm.name} is replaced`];
    });
  } catch (error) {
    const isAbsent = isHvError(error, 'not-found') || (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (!isAbsent && !(error instanceof SyntaxError)) throw error;
  }
}

function isOurName(name: string): boolean {
  return new RegExp(`^${NAME}(-[0-9]+)?$`).test(name);
}

/** first-machine, or the next number where somebody else's machine has that name. */
async function freeName(hv: HyperV): Promise<string> {
  const taken = new Set((await hv.listVms()).map((vm) => vm.name.toLowerCase()));
  let name = NAME;
  for (let number = 2; taken.has(name); number += 1) name = `${NAME}-${number}`;
  return name;
}

/** A differencing disk of the template, at a path where no file is. */
async function makeDisk(hv: HyperV, folder: string, name: string, templatePath: string): Promise<string> {
  for (let number = 1; ; number += 1) {
    const path = join(folder, number === 1 ? `${name}.vhdx` : `${name}-disk${number}.vhdx`);
    try {
      await hv.createDifferencingVhd(path, templatePath);
      return path;
    } catch (error) {
      if (!isHvError(error, 'already-exists') || number === 100) throw error;
    }
  }
}

/** What the guest's own system says first on its serial port, after its firmware has spoken. */
async function firstWords(vm: Vm, signal: AbortSignal): Promise<string> {
  const deadline = Date.now() + BOOT_TIMEOUT_MS;
  while (Date.now() < deadline) {
    const { serial } = await vm.logs();
    const words = /^hv linux guest [^\r\n]*ready[^\r\n]*/m.exec(serial)?.[0];
    if (words !== undefined) return words.replace(/[^\x20-\x7e]/g, '');
    if ((await vm.state()) === 'Off') {
      throw new HvError(
        'guest-failed',
        `"${vm.name}" went off while it booted: ${(await vm.info()).stateReason ?? 'no reason is known'}`,
      );
    }
    await delay(200, undefined, { signal });
  }
  throw new HvError('timeout', `"${vm.name}" said nothing within ${BOOT_TIMEOUT_MS / 1000} s`);
}

function phaseOf({ phase, done, total }: Progress): string {
  return total === undefined || total <= 1 ? phase : `${phase}, ${Math.round((100 * done) / total)} %`;
}

function gib(bytes: number): string {
  return `${Math.round((10 * bytes) / GIB) / 10} GiB`;
}
