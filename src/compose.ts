import { HvError } from './errors/index.ts';
import { HyperV } from './facade/index.ts';
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

/** Opens this host's machines, disks and switches. @throws HvError `unsupported`, `permission-denied` */
export async function openHyperV(options: OpenOptions = {}): Promise<HyperV> {
  return new HyperV(await openHost(options));
}
