import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { QmpClient } from '../../src/protocols/qmp/index.ts';

const BINARY = 'qemu-system-x86_64';

/** Why the suites that need QEMU do not run here, or undefined. */
export const qemuMissing = (process.env.PATH ?? '').split(delimiter).some((folder) => existsSync(join(folder, BINARY)))
  ? undefined
  : `${BINARY} is not installed`;

/** One real QEMU with a monitor on a unix socket; killed, and its folder removed, at the end of its scope. */
export class QemuProcess implements AsyncDisposable {
  readonly folder: string;
  readonly monitorPath: string;
  readonly child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #errorText = '';

  private constructor(folder: string, child: ChildProcess) {
    this.folder = folder;
    this.monitorPath = join(folder, 'm');
    this.child = child;
    this.#exited = once(child, 'exit');
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#errorText = (this.#errorText + chunk.toString()).slice(-4096);
    });
  }

  static async start(args: readonly string[] = []): Promise<QemuProcess> {
    const folder = await mkdtemp(join(tmpdir(), 'hvq-'));
    const child = spawn(
      BINARY,
      [
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'tcg', '-S'],
        ...['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
        ...['-chardev', `socket,id=m,path=${join(folder, 'm')},server=on,wait=off`, '-mon', 'chardev=m,mode=control'],
        ...args.map((arg) => arg.replaceAll('@', folder)),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    return new QemuProcess(folder, child);
  }

  /** A folder with a short name, removed at the end of its scope, for what needs no QEMU. */
  static async folder(): Promise<AsyncDisposable & { path(name: string): string }> {
    const folder = await mkdtemp(join(tmpdir(), 'hvq-'));
    return {
      path: (name) => join(folder, name),
      [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
    };
  }

  get errorText(): string {
    return this.#errorText;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  connect(options: Parameters<typeof QmpClient.connect>[1] = {}): Promise<QmpClient> {
    return QmpClient.connect(this.monitorPath, { waitForSocketMs: 10_000, ...options });
  }

  async exited(): Promise<void> {
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.#exited;
    await rm(this.folder, { recursive: true, force: true });
  }
}
