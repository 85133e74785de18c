import { copyFile, readFile, rm } from 'node:fs/promises';
import { HvError, invariant, isHvError } from '../../../errors/index.ts';
import type { DataPlane } from '../../../protocols/nbd/index.ts';
import { printableGuestText } from '../../../protocols/qga/index.ts';
import {
  cont,
  type QmpClient,
  type QmpEvent,
  queryStatus,
  quit,
  restoreFromFile,
  returnToPaused,
  saveToFile,
  screendumpPng,
  stop,
  systemPowerdown,
  systemReset,
  waitPostmigrate,
} from '../../../protocols/qmp/index.ts';
import {
  type LastExit,
  type RuntimeRecord,
  removeRuntime,
  type VmDefinition,
  writeLastExit,
  writeRuntime,
} from '../../../state/index.ts';
import { bootId, ownIdentity } from '../../../system/index.ts';
import { AGENT_CHANNEL, AGENT_PORT, SOCKETS } from '../qemu-arguments.ts';
import { GuestAgentLink } from './guest-agent-link.ts';
import { connectMonitor } from './monitor.ts';
import { QemuProcess, qemuLogSize, qemuLogTail } from './qemu-process.ts';
import type { WorkerRequest } from './wire.ts';

type Phase = RuntimeRecord['phase'];

export interface VmWorkerContext {
  readonly definition: VmDefinition;
  readonly runFolder: string;
  readonly dataPlane: DataPlane;
  /** QEMU's program and the arguments for a start; `incoming` waits for a memory state. */
  launch(incoming: boolean): {
    readonly program: string;
    readonly args: readonly string[];
    readonly acceleration: 'kvm' | 'tcg';
  };
  /** The machine is going: whoever comes now shall find no worker rather than one that leaves. */
  stopListening(): void;
  /** The worker's work is over: leave with this status. */
  leave(exitCode: number): void;
}

export interface OrderControl {
  /** Fires when the one who gave the order is gone. */
  readonly signal: AbortSignal;
  onProgress(phase: string, done: number, total?: number): void;
}

/** Work that is prepared and waits for its command's decision. */
interface Prepared {
  readonly kind: 'start' | 'save' | 'snapshot';
  commit(): Promise<void>;
  abort(): Promise<void>;
}

const FLUSH_AND_QUIT_MS = 30_000;

/**
 * One running machine: its QEMU, its monitor, its disks. Orders come one at a time from control connections; what QEMU
 * does by itself comes as events. The working folder is the machine's data folder, and every path in it is relative,
 * because this process no longer has the right to walk there from the root.
 */
export class VmWorker {
  readonly #context: VmWorkerContext;
  #qemu: QemuProcess | undefined;
  #qmp: QmpClient | undefined;
  #agent: GuestAgentLink | undefined;
  #phase: Phase = 'starting';
  #resumeTo: 'running' | 'paused' = 'running';
  #pauseReason: string | null = null;
  #acceleration: 'kvm' | 'tcg' = 'tcg';
  #startedTime = new Date().toISOString();
  #prepared: Prepared | undefined;
  #ending: Promise<void> | undefined;
  #logStart = 0;

  constructor(context: VmWorkerContext) {
    this.#context = context;
  }

  get hasMachine(): boolean {
    return this.#qemu !== undefined;
  }

  get isDecisionPending(): boolean {
    return this.#prepared !== undefined;
  }

  /** Carries out one order. @throws HvError: its JSON is the answer */
  async perform(request: WorkerRequest, control: OrderControl): Promise<unknown> {
    switch (request.op) {
      case 'hello':
        return { pid: process.pid };
      case 'leave':
        if (this.hasMachine) throw new HvError('invalid-state', 'the machine is started');
        this.#context.leave(0);
        return {};
      case 'start':
        return this.#start(request.restoreFrom, request.paused, control);
      case 'save':
        return this.#save(request.file, control);
      case 'snapshot':
        return this.#snapshot(request, control);
      case 'commit':
        return this.#decide('commit');
      case 'abort':
        return this.#decide('abort');
      case 'shutdown':
        this.#requirePhase('shut down', 'running');
        await systemPowerdown(this.#monitor());
        return {};
      case 'force-stop':
        await this.#end('force-stopped', 'It was switched off.', { isAbrupt: true });
        return {};
      case 'pause':
        if (this.#phase === 'paused') return {};
        this.#requirePhase('pause', 'running');
        await stop(this.#monitor());
        await this.#enter('paused');
        return {};
      case 'resume':
        if (this.#phase === 'running') return {};
        this.#requirePhase('resume', 'paused');
        this.#pauseReason = null;
        await cont(this.#monitor());
        await this.#enter('running');
        return {};
      case 'reset':
        this.#requirePhase('reset', 'running', 'paused');
        await systemReset(this.#monitor());
        return {};
      case 'screenshot':
        return { pngBase64: (await this.#screenshot()).toString('base64') };
      case 'heartbeat':
        return { alive: this.#phase === 'running' && (await this.#agentLink().isAlive(control.signal)) };
      case 'ip-addresses':
        return { adapters: this.#phase === 'running' ? await this.#agentLink().ipAddresses(control.signal) : [] };
      default:
        return request satisfies never;
    }
  }

  /** The connection that prepared something ended undecided: nobody here knows what vm.json says, a successor will. */
  abandonDecision(): void {
    this.#context.leave(EXIT_UNDECIDED);
  }

  /** Takes over the QEMU of a worker that died, and finishes what that one had begun. */
  async adopt(record: RuntimeRecord): Promise<void> {
    this.#acceleration = record.acceleration;
    this.#startedTime = record.startedTime;
    this.#resumeTo = record.resumeTo;
    this.#pauseReason = record.pauseReason;
    this.#phase = record.phase;
    this.#logStart = qemuLogSize();
    const qemu = QemuProcess.adopt(record.qemu);
    this.#watch(qemu);
    await this.#connect(qemu);
    const monitor = this.#monitor();
    const status = await queryStatus(monitor);
    switch (record.phase) {
      case 'starting':
        await this.#end('failed', 'Its start was interrupted.');
        return;
      case 'stopping':
        await this.#end('stopped', 'It was switched off.');
        return;
      case 'saving':
        if (this.#context.definition.savedState) {
          await this.#end('saved', 'Its state was saved.');
          return;
        }
        await this.#goOn();
        return;
      case 'snapshotting':
        await this.#goOn();
        return;
      case 'running':
      case 'paused':
        if (status.state === 'shutdown') {
          await this.#end('guest-shutdown', 'The guest shut down.');
          return;
        }
        if (record.phase === 'running' && !status.isRunning) await cont(monitor);
        await this.#enter(record.phase);
        return;
      default:
        record.phase satisfies never;
    }
  }

  async #start(restoreFrom: string | null, paused: boolean, control: OrderControl): Promise<unknown> {
    if (this.#qemu) throw new HvError('invalid-state', 'the machine is already started');
    const { program, args, acceleration } = this.#context.launch(restoreFrom !== null);
    this.#acceleration = acceleration;
    this.#startedTime = new Date().toISOString();
    this.#resumeTo = paused ? 'paused' : 'running';
    this.#logStart = qemuLogSize();
    const qemu = await QemuProcess.spawn(program, args);
    try {
      this.#watch(qemu);
      await this.#enter('starting');
      await this.#connect(qemu);
      if (restoreFrom !== null) await this.#restore(restoreFrom, control);
      if (control.signal.aborted) throw new HvError('aborted', 'the start was cancelled');
    } catch (error) {
      this.#ending ??= this.#teardown(qemu, true).then(() => {
        this.#context.stopListening();
        return removeRuntime(this.#context.runFolder);
      });
      await this.#ending;
      setImmediate(() => this.#context.leave(0));
      throw error;
    }
    this.#prepared = {
      kind: 'start',
      commit: async () => {
        if (this.#resumeTo === 'running') await cont(this.#monitor());
        await this.#enter(this.#resumeTo);
      },
      abort: () => this.#end('failed', 'Its start was cancelled.'),
    };
    return { acceleration };
  }

  async #restore(file: string, control: OrderControl): Promise<void> {
    await restoreFromFile(this.#monitor(), this.#socket('state'), file, {
      signal: control.signal,
      onProgress: (progress) => control.onProgress('memory', progress.done, progress.total),
    });
  }

  async #save(file: string, control: OrderControl): Promise<unknown> {
    const paused = this.#halt('save');
    await this.#enter('saving');
    try {
      await this.#writeMemory(file, control);
      await this.#context.dataPlane.flush();
    } catch (error) {
      await rm(file, { force: true });
      await this.#goOn();
      throw error;
    }
    this.#prepared = {
      kind: 'save',
      commit: () => this.#end('saved', 'Its state was saved.'),
      abort: async () => {
        await rm(file, { force: true });
        await this.#goOn();
      },
    };
    return { paused };
  }

  async #snapshot(request: Extract<WorkerRequest, { op: 'snapshot' }>, control: OrderControl): Promise<unknown> {
    const paused = this.#halt('take a snapshot');
    await this.#enter('snapshotting');
    const { dataPlane } = this.#context;
    const prepared: string[] = [];
    const rollBack = async (): Promise<void> => {
      for (const driveId of prepared) await dataPlane.abandonChild(driveId);
      await rm(request.memoryFile, { force: true });
      if (request.nvramFile !== null) await rm(request.nvramFile, { force: true });
      await this.#goOn();
    };
    try {
      await this.#writeMemory(request.memoryFile, control);
      const { nvramFile } = this.#context.definition;
      if (request.nvramFile !== null && nvramFile !== null) await copyFile(nvramFile, request.nvramFile);
      for (const { driveId, file } of request.children) {
        await dataPlane.prepareChild(driveId, file);
        prepared.push(driveId);
      }
    } catch (error) {
      await rollBack();
      throw error;
    }
    this.#prepared = {
      kind: 'snapshot',
      commit: async () => {
        for (const driveId of prepared) await dataPlane.commitChild(driveId);
        await this.#goOn();
      },
      abort: rollBack,
    };
    return { paused };
  }

  /** Remembers where to return to, from running or paused. */
  #halt(doing: string): boolean {
    this.#requirePhase(doing, 'running', 'paused');
    this.#resumeTo = this.#phase === 'paused' ? 'paused' : 'running';
    return this.#resumeTo === 'paused';
  }

  /** Stops the guest and writes its memory and devices to a file in the data folder. */
  async #writeMemory(file: string, control: OrderControl): Promise<void> {
    const monitor = this.#monitor();
    await stop(monitor);
    await saveToFile(monitor, this.#socket('state'), file, {
      signal: control.signal,
      onProgress: (progress) => control.onProgress(progress.phase, progress.done, progress.total),
    });
    await waitPostmigrate(monitor);
  }

  /** Lets the guest go on after an operation that stopped it. */
  async #goOn(): Promise<void> {
    if (this.#ending || !this.#qmp || this.#qmp.isClosed) return;
    if (this.#resumeTo === 'running') await cont(this.#monitor());
    else await returnToPaused(this.#monitor());
    await this.#enter(this.#resumeTo);
  }

  async #decide(decision: 'commit' | 'abort'): Promise<unknown> {
    const prepared = this.#prepared;
    if (!prepared) throw new HvError('invalid-state', 'nothing waits for a decision');
    this.#prepared = undefined;
    await prepared[decision]();
    return {};
  }

  async #screenshot(): Promise<Buffer> {
    const file = `screen-${process.pid}.png`;
    try {
      await screendumpPng(this.#monitor(), file, { timeoutMs: 20_000 });
      return await readFile(file);
    } finally {
      await rm(file, { force: true });
    }
  }

  async #connect(qemu: QemuProcess): Promise<void> {
    try {
      this.#qmp = await connectMonitor(this.#socket('qmp'), qemu, (event) => this.#onEvent(event));
    } catch (error) {
      const tail = qemuLogTail(this.#logStart);
      throw new HvError(
        'process-failed',
        qemu.exit ? `QEMU did not start: ${lastLine(tail) || qemu.describeExit()}` : 'QEMU does not answer',
        {
          detail: { engineLog: printableGuestText(tail) },
          cause: error,
        },
      );
    }
  }

  #watch(qemu: QemuProcess): void {
    this.#qemu = qemu;
    void qemu.exited.then(async () => {
      if (this.#ending || this.#phase === 'starting') return; // asked for, or reported by the start itself
      const tail = lastLine(qemuLogTail(this.#logStart));
      await this.#end('crashed', tail ? `${qemu.describeExit()}: ${tail}` : `${qemu.describeExit()}.`, {
        isAbrupt: true,
      });
    });
  }

  #onEvent(event: QmpEvent): void {
    switch (event.name) {
      case 'SHUTDOWN': {
        if (this.#ending) return;
        const isGuest = event.data.guest === true;
        void this.#end(
          isGuest ? 'guest-shutdown' : 'stopped',
          isGuest ? 'The guest shut down.' : 'It was switched off.',
        );
        return;
      }
      case 'VSERPORT_CHANGE':
        if (event.data.id === AGENT_PORT) this.#agentLink().isOpen = event.data.open === true;
        return;
      case 'BLOCK_IO_ERROR':
        this.#pauseReason =
          event.data.nospace === true
            ? 'No space is left on the host for one of its disks.'
            : 'One of its disks failed on the host.';
        return;
      case 'STOP':
        if (this.#phase === 'running' && this.#pauseReason !== null) void this.#enter('paused');
        return;
      default:
        return;
    }
  }

  /** The one way out: QEMU gone, disks flushed and closed, the reason kept. Runs once. */
  #end(kind: LastExit['kind'], message: string, options: { readonly isAbrupt?: boolean } = {}): Promise<void> {
    this.#ending ??= (async () => {
      const qemu = this.#qemu;
      await this.#enter('stopping');
      if (qemu) await this.#teardown(qemu, options.isAbrupt === true);
      await writeLastExit('.', {
        schemaVersion: 1,
        time: new Date().toISOString(),
        kind,
        message: message.slice(0, 2000),
      });
      this.#context.stopListening();
      // Last: whoever sees the machine off also finds the reason.
      await removeRuntime(this.#context.runFolder);
      setImmediate(() => this.#context.leave(0));
    })();
    return this.#ending;
  }

  async #teardown(qemu: QemuProcess, isAbrupt: boolean): Promise<void> {
    const qmp = this.#qmp;
    if (!isAbrupt && qmp && !qmp.isClosed) {
      try {
        await quit(qmp, { timeoutMs: FLUSH_AND_QUIT_MS });
      } catch (error) {
        if (!isHvError(error)) throw error; // it is killed below in any case
      }
    }
    await qemu.kill();
    await this.#agent?.close();
    await qmp?.close();
    await this.#context.dataPlane.close();
  }

  #monitor(): QmpClient {
    if (!this.#qmp) throw new HvError('invalid-state', 'the machine is not started');
    return this.#qmp;
  }

  #agentLink(): GuestAgentLink {
    this.#agent ??= new GuestAgentLink(this.#socket('agent'));
    return this.#agent;
  }

  #socket(name: keyof typeof SOCKETS): string {
    return `${this.#context.runFolder}/${SOCKETS[name]}`;
  }

  #requirePhase(doing: string, ...legal: readonly Phase[]): void {
    if (this.#ending || !legal.includes(this.#phase) || this.#prepared) {
      throw new HvError('invalid-state', `cannot ${doing} while the machine is ${this.#phase}`, {
        detail: { phase: this.#phase },
      });
    }
  }

  /** Writes the phase down before anything relies on it. */
  async #enter(phase: Phase): Promise<void> {
    invariant(this.#qemu, 'a phase belongs to a QEMU');
    this.#phase = phase;
    if (phase === 'running') {
      this.#pauseReason = null;
      // A restored or adopted guest may have had the port open all along: no event tells.
      if (await isAgentPortOpen(this.#monitor())) this.#agentLink().isOpen = true;
    }
    await writeRuntime(this.#context.runFolder, {
      schemaVersion: 1,
      vmId: this.#context.definition.id,
      bootId: bootId(),
      phase,
      resumeTo: this.#resumeTo,
      qemu: this.#qemu.identity,
      worker: ownIdentity(),
      startedTime: this.#startedTime,
      acceleration: this.#acceleration,
      pauseReason: this.#pauseReason,
    });
  }
}

/** A decision was left open: the keeper starts a successor. */
export const EXIT_UNDECIDED = 75;

function lastLine(text: string): string {
  return printableGuestText(text.split('\n').at(-1) ?? '').trim();
}

/** The port's state as it is now; later changes come as events. */
async function isAgentPortOpen(monitor: QmpClient): Promise<boolean> {
  const channels = await monitor.execute('query-chardev');
  return (
    Array.isArray(channels) &&
    channels.some(
      (entry: unknown) => isJsonObject(entry) && entry.label === AGENT_CHANNEL && entry['frontend-open'] === true,
    )
  );
}

function isJsonObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
