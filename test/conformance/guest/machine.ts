import { join } from 'node:path';
import type { CreateVmOptions } from '../../../src/model/index.ts';
import { buildLinuxTemplate } from '../../../src/provision/index.ts';
import type { HostFixture } from '../fixture.ts';
import { GuestConsole } from './guest-console.ts';

const MIB = 2 ** 20;
export const BOOT_MS = 120_000;

const templates = new WeakMap<HostFixture, Promise<string>>();

/** The Linux guest's disk in the fixture's folder; built once, later copied from the product's own cache. */
export function template(fixture: HostFixture): Promise<string> {
  let made = templates.get(fixture);
  if (!made) {
    made = buildLinuxTemplate(join(fixture.folder, 'linux.vhdx')).then(({ path }) => path);
    templates.set(fixture, made);
  }
  return made;
}

/** A machine on a differencing disk of its own; one processor, 256 MiB: enough for the guest, and it is translated. */
export async function linuxMachine(
  fixture: HostFixture,
  name: string,
  options: Partial<CreateVmOptions> = {},
): Promise<string> {
  const diskPath = join(fixture.folder, `${name}.vhdx`);
  await fixture.host.disks.create(diskPath, { type: 'differencing', parentPath: await template(fixture) });
  const { id } = await fixture.host.vms.create({
    name,
    diskPath,
    memoryBytes: 256 * MIB,
    processorCount: 1,
    ...options,
  });
  return id;
}

/** Starts the machine and waits until its guest's agent answers. */
export async function boot(fixture: HostFixture, id: string): Promise<void> {
  await fixture.host.vms.start(id);
  if (await fixture.host.vms.waitFor(id, 'ready', { timeoutMs: BOOT_MS })) return;
  const { serial, engine, worker } = await fixture.host.vms.logs(id);
  throw new Error(`the guest did not become ready: ${JSON.stringify({ serial: serial.slice(-1500), engine, worker })}`);
}

/** One command at the guest's console, over a connection of its own. */
export async function inGuest(fixture: HostFixture, id: string, command: string): Promise<string> {
  await using console = await GuestConsole.open(fixture.host, id);
  return await console.run(command);
}

/** After a failed test: what every machine of the host says about itself. */
export async function describeMachinesOf({ host }: HostFixture): Promise<string> {
  const lines: string[] = [];
  for (const { id } of await host.vms.list()) {
    const { name, state, stateReason, processes } = await host.vms.info(id);
    const { serial, engine, worker } = await host.vms.logs(id, { maxBytes: 1500 });
    lines.push(JSON.stringify({ name, state, stateReason, processes, serial, engine, worker }, undefined, 1));
  }
  return lines.join('\n');
}
