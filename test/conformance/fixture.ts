import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Host } from '../../src/host/index.ts';

/** What a conformance suite is given: a host of its own, and how to open a second door to the same one. */
export interface HostFixture {
  readonly host: Host;
  /** A folder for the test's own files. */
  readonly folder: string;
  /** Opens the same host once more, as another process would. */
  reopen(): Promise<Host>;
  close(): Promise<void>;
}

/** Makes a host in folders of its own. */
export type MakeFixture = () => Promise<HostFixture>;

/** A fixture over an engine that keeps everything under one home folder. `afterwards` runs when all machines are off. */
export function homeFixture(
  open: (home: string) => Promise<Host>,
  afterwards: (home: string) => Promise<void> = async () => {},
): MakeFixture {
  return async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hv-conf-'));
    const home = join(folder, 'home');
    const host = await open(home);
    return {
      host,
      folder,
      reopen: () => open(home),
      close: async () => {
        try {
          for (const vm of await host.vms.list()) await host.vms.forceStop(vm.id);
          await host.close();
        } finally {
          try {
            await afterwards(home);
          } finally {
            await rm(folder, { recursive: true, force: true });
          }
        }
      },
    };
  };
}
