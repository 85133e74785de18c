/**
 * Entry point of the disk data plane's thread: owns the disks and their server, so that synchronous file I/O stalls
 * nothing else. Everything that it ever needs is imported here: later the process has no privileges to load it with.
 */
import { parentPort } from 'node:worker_threads';
import { Mutex } from '../../async/index.ts';
import { DiskChain, type OpenDisk, openVhd } from '../../disk/index.ts';
import { assertNever, fromSystemError, HvError } from '../../errors/index.ts';
import { preadNowait } from '../../system/index.ts';
import type { AddExportOptions, AddedExport, DataPlaneReport, DataPlaneRequest } from './data-plane-messages.ts';
import { NbdServer } from './server.ts';

class DataPlaneThread {
  readonly #server = new NbdServer();
  readonly #disks = new Map<string, OpenDisk>();
  /** One change at a time for each export. */
  readonly #mutexes = new Map<string, Mutex>();

  async answer(request: DataPlaneRequest): Promise<unknown> {
    switch (request.call) {
      case 'addExport':
        return this.#serially(request.arguments.name, () => this.#addExport(request.arguments));
      case 'removeExport':
        return this.#serially(request.arguments.name, () => this.#removeExport(request.arguments.name));
      case 'listen':
        return this.#server.listen(request.arguments.socketPath, request.arguments.options);
      case 'prepareChild': {
        const { name, childPath } = request.arguments;
        return this.#exclusively(name, (chain) => chain.prepareChild(childPath));
      }
      case 'commitChild':
        return this.#exclusively(request.arguments.name, (chain) => chain.commitChild());
      case 'abandonChild':
        return this.#exclusively(request.arguments.name, (chain) => chain.abandonChild());
      case 'flush':
        return this.#flush(request.arguments.name);
      case 'stats':
        return this.#server.stats();
      case 'close':
        return this.#close();
      default:
        return assertNever(request, 'call');
    }
  }

  async #addExport(options: AddExportOptions): Promise<AddedExport> {
    const { name, path, ...how } = options;
    if (this.#disks.has(name)) {
      throw new HvError('already-exists', `an export named ${JSON.stringify(name)} exists already`);
    }
    const disk = await openVhd(path, how);
    try {
      const { sizeBytes } = this.#server.addExport(name, disk);
      this.#disks.set(name, disk);
      return { sizeBytes, layers: disk instanceof DiskChain ? disk.layers.map((layer) => layer.path) : [disk.path] };
    } catch (error) {
      await disk.close();
      throw error;
    }
  }

  async #removeExport(name: string): Promise<void> {
    await this.#server.removeExport(name);
    const disk = this.#disks.get(name);
    this.#disks.delete(name);
    await disk?.close();
  }

  async #exclusively(name: string, work: (chain: DiskChain) => Promise<void> | void): Promise<void> {
    await this.#serially(name, () => {
      const served = this.#server.export(name);
      const disk = this.#disks.get(name);
      if (!(disk instanceof DiskChain)) {
        throw new HvError('unsupported', `the export ${JSON.stringify(name)} is a raw file and can have no child`);
      }
      return served.exclusively(() => work(disk));
    });
  }

  async #flush(name: string | undefined): Promise<void> {
    const flushed = name === undefined ? [...this.#server.list()] : [this.#server.export(name)];
    await Promise.all(flushed.map((served) => served.flush()));
  }

  /** Closes everything that can be closed, then reports what could not. */
  async #close(): Promise<void> {
    await this.#server.close();
    const closings = await Promise.allSettled([...this.#disks.values()].map((disk) => disk.close()));
    this.#disks.clear();
    for (const closing of closings) if (closing.status === 'rejected') throw closing.reason;
  }

  #serially<T>(name: string, work: () => Promise<T> | T): Promise<T> {
    let mutex = this.#mutexes.get(name);
    if (!mutex) {
      mutex = new Mutex();
      this.#mutexes.set(name, mutex);
    }
    return mutex.run(work);
  }
}

function start(): void {
  const port = parentPort;
  if (!port) throw new HvError('internal', 'the disk data plane runs as a thread of its own only');
  const report = (message: DataPlaneReport): void => port.postMessage(message);
  const thread = new DataPlaneThread();
  port.on('message', (request: DataPlaneRequest) => {
    thread.answer(request).then(
      (result) => {
        report({ kind: 'result', id: request.id, result: result ?? null });
        if (request.call === 'close') port.close();
      },
      (error: unknown) => {
        const failure = fromSystemError(error, 'the disk data plane failed');
        report({ kind: 'error', id: request.id, error: failure.toJSON() });
        if (request.call === 'close') port.close();
      },
    );
  });
  // Loads the C library's binding now; the answer does not matter.
  preadNowait(-1, new Uint8Array(1), 0, 1, 0);
  report({ kind: 'ready' });
}

start();
