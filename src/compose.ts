import { HvError } from './errors/index.ts';
import { HyperVFacade } from './facade/index.ts';
import type { Host } from './host/index.ts';

export interface OpenOptions {
  /** Where definitions are kept; default: HV_HOME, else /var/lib/hv for root, else the user's data folder. */
  readonly home?: string;
}

/** Chooses the engine of this system. The only place that imports engines, and only the one that is needed. */
export async function openHost(options: OpenOptions = {}): Promise<Host> {
  if (process.platform === 'linux') {
    const { openQemuHost } = await import('./engines/qemu/index.ts');
    return openQemuHost(options);
  }
  throw new HvError('unsupported', `hv has no engine for ${process.platform}`, {
    detail: { platform: process.platform },
    hint: 'Virtual hard disks can be handled on any system: see openVhd.',
  });
}

/** The main interface, opened with the engine of this host. */
export class HyperV extends HyperVFacade {
  /**
   * Opens this host's machines, disks and switches.
   * @throws HvError `unsupported`, `permission-denied`
   * @example
   * await using hv = await HyperV.open();
   * for (const vm of await hv.listVms()) console.log(vm.name, await vm.state());
   */
  static async open(options: OpenOptions = {}): Promise<HyperV> {
    return new HyperV(await openHost(options));
  }
}
