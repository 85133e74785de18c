import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BlockDevice } from '../../src/disk/block-device.ts';
import type { Export } from '../../src/protocols/nbd/export.ts';
import { NbdServer, type ServerOptions } from '../../src/protocols/nbd/server.ts';

/** A server in this process, on a socket in a folder of its own; all gone at the end of the scope. */
export class Served implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'hv-nbd-'));
  readonly socketPath = join(this.folder, 's');
  readonly server: NbdServer;

  private constructor(options: ServerOptions) {
    this.server = new NbdServer(options);
  }

  get uri(): string {
    return `nbd+unix:///?socket=${this.socketPath}`;
  }

  static async start(device: BlockDevice, options: ServerOptions & { readonly name?: string } = {}): Promise<Served> {
    const served = new Served(options);
    served.server.addExport(options.name ?? '', device);
    await served.server.listen(served.socketPath);
    return served;
  }

  get export(): Export {
    const [first] = this.server.list();
    if (!first) throw new Error('no export');
    return first;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
