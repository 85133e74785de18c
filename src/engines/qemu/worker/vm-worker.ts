import { readFile, rm } from 'node:fs/promises';
import { HvError } from '../../../errors/index.ts';
import type { VmSpecification } from '../../../model/index.ts';
import type { DataPlane } from '../../../protocols/nbd/index.ts';
import { printableGuestText } from '../../../protocols/qga/index.ts';
import {
  cont,
  isChardevOpen,
  type QmpClient,
  type QmpEvent,
  queryStatus,
  quit,
  restoreFromFile,
  returnToPaused,
  screendumpPng,
  stop,
  systemPowerdown,
  systemReset,
} from '../../../protocols/qmp/index.ts';
import {
  type LastExit,
  type RuntimeRecord,
  removeRuntime,
  type VmDefinition,
  writeLastExit,
} from '../../../state/index.ts';
import { describe, log } from '../log.ts';
import { AGENT_CHANNEL, AGENT_PORT } from '../qemu-arguments.ts';
import { SOCKETS } from '../sockets.ts';
import { answerAboutChanges, mustNotBeBackedUp } from './changed-blocks.ts';
import { GuestServices } from './guest-services.ts';
import { Happenings } from './happenings.ts';
import { pressKeys } from './keyboard.ts';
import { SERIAL_LOG } from './launch.ts';
import type { LiveMachine } from './live/live-machine.ts';
import { reconcile } from './live/reconcile.ts';
import { prepareSettings } from './live/settings.ts';
import { LogCap, shortenLog } from './log-cap.ts';
import { measure } from './measure.ts';
import { connectMonitor } from './monitor.ts';
import { endStrays, QEMU_LOG, QemuProcess, qemuLogSize, qemuLogTail } from './qemu-process.ts';
import { type Phase, RunRecord } from './run-record.ts';
import { startMergeSoon } from './start-merge.ts';
import { type OrderControl, type Prepared, prepareSave, prepareSnapshot, type StoppableMachine } from './two-step.ts';
import type { WorkerRequest } from './wire.ts';

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

const FLUSH_AND_QUIT_MS = 30_000;
/** What QEMU writes as long as it runs. */
const LOGS = [SERIAL_LOG, QEMU_LOG];

/**
 * One running machine: its QEMU, its monitor, its disks. Orders come one at a time from control connections; what QEMU
 * does by itself comes as events. The working folder is the machine's data folder, and every path in it is relative,
 * because this process no longer has the right to walk there from the root.
 */
export class VmWorker {
  readonly #context: VmWorkerContext;
  readonly #record: RunRecord;
  readonly #happenings: Happenings;
  #qemu: QemuProcess | undefined;
  #qmp: QmpClient | undefined;
  readonly #guest: GuestServices;
  #logCap: LogCap | undefined;
  #prepared: Prepared | undefined;
  /** What the machine was last made to be. */
  #specification: VmSpecification;
  #ending: Promise<void> | undefined;
  #logStart = 0;

  constructor(context: VmWorkerContext) {
    this.#context = context;
    this.#specification = context.definition.specification;
    this.#happenings = new Happenings(context.definition);
    this.#record = new RunRecord(context.runFolder, context.definition.id, (record) => this.#happenings.phase(record));
    this.#guest = new GuestServices(this.#socket('agent'), context.definition.keyValuePairs);
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
        return { pid: process.pid, vmId: this.#context.definition.id };
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
      case 'merge':
        return this.#merge(request, control);
      case 'hand-over':
        this.#requirePhase('hand the machine over', 'running', 'paused');
        await mustNotBeBackedUp(this.#context.dataPlane);
        this.#handOver();
        return {};
      case 'wait-mirror':
        await this.#context.dataPlane.waitMirror(request.driveId, {
          signal: control.signal,
          onProgress: ({ phase, done, total }) => control.onProgress(phase, done, total),
        });
        return {};
      case 'break-mirror':
        return this.#breakMirror(request.driveId, request.switchOver);
      case 'apply-settings':
        return this.#applySettings(request.specification);
      case 'commit':
        return this.#decide('commit');
      case 'abort':
        return this.#decide('abort');
      case 'shutdown':
        this.#requirePhase('shut down', 'running');
        await systemPowerdown(this.#monitor());
        return {};
      case 'force-stop':
        if (!this.hasMachine) throw new HvError('invalid-state', 'the machine is not started');
        await this.#end('force-stopped', 'It was switched off.', { isAbrupt: true });
        return {};
      case 'pause':
        if (this.#record.phase === 'paused') return {};
        this.#requirePhase('pause', 'running');
        await stop(this.#monitor());
        await this.#enter('paused');
        return {};
      case 'resume':
        if (this.#record.phase === 'running') return {};
        this.#requirePhase('resume', 'paused');
        await this.#letRun();
        this.#guest.wakeUp();
        return {};
      case 'reset':
        this.#requirePhase('reset', 'running', 'paused');
        await systemReset(this.#monitor());
        return {};
      case 'screenshot':
        return { pngBase64: (await this.#screenshot()).toString('base64') };
      case 'heartbeat':
        return { alive: this.#record.phase === 'running' && (await this.#guest.agent.isAlive(control.signal)) };
      case 'ip-addresses':
        return {
          adapters: this.#record.phase === 'running' ? await this.#guest.agent.ipAddresses(control.signal) : [],
        };
      case 'agent':
      case 'key-value-pairs':
        return this.#guest.answer(request, this.#isGuestUp, control.signal);
      case 'press-keys':
        this.#requirePhase('press keys', 'running');
        await pressKeys(this.#monitor(), request.presses, control.signal);
        return {};
      case 'measure':
        return measure(this.#monitor(), this.#specification, await this.#guest.agent.networkTraffic(control.signal));
      case 'change-tracking':
      case 'take-reference-point':
      case 'query-changes':
      case 'begin-backup':
      case 'backup-pieces':
      case 'end-backup':
        if (!this.hasMachine) throw new HvError('invalid-state', 'the machine is not started');
        return answerAboutChanges(this.#context.dataPlane, request, control.signal);
      default:
        return request satisfies never;
    }
  }

  /** The connection that prepared something ended undecided: nobody here knows what vm.json says, a successor will. */
  abandonDecision(): void {
    if (!this.#ending) this.#context.leave(EXIT_UNDECIDED);
  }

  /** Takes over the QEMU of a worker that died, and finishes what that one had begun. */
  async adopt(record: RuntimeRecord): Promise<void> {
    await this.#takeOver(record);
    if (this.#ending) return;
    // What cannot be done now, is with the next change or the next worker.
    await this.#attempt('its settings', () => reconcile(this.#live(), this.#specification));
  }

  async #takeOver(record: RuntimeRecord): Promise<void> {
    this.#record.takeOver(record);
    this.#logStart = qemuLogSize();
    const qemu = QemuProcess.adopt(record.qemu);
    this.#watch(qemu);
    await this.#connect(qemu);
    const monitor = this.#monitor();
    const status = await queryStatus(monitor);
    switch (record.phase) {
      case 'starting':
        // A saved state that the definition names no more was given to this QEMU: nothing else holds the memory.
        if (record.restores && !this.#context.definition.savedState) await this.#goOn();
        else await this.#end('failed', 'Its start was interrupted.');
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
      case 'merging':
        if (status.state === 'shutdown') await this.#end('guest-shutdown', 'The guest shut down.');
        else await this.#leaveMerging();
        return;
      case 'running':
      case 'paused':
        if (status.state === 'shutdown') {
          await this.#end('guest-shutdown', 'The guest shut down.');
          return;
        }
        // The record is written before the guest runs and after it stops.
        if (record.phase === 'running' || status.isRunning) await this.#letRun();
        else await this.#enter('paused');
        return;
      default:
        record.phase satisfies never;
    }
  }

  async #start(restoreFrom: string | null, paused: boolean, control: OrderControl): Promise<unknown> {
    if (this.#qemu) throw new HvError('invalid-state', 'the machine is already started');
    const { program, args, acceleration } = this.#context.launch(restoreFrom !== null);
    this.#record.acceleration = acceleration;
    this.#record.startedTime = new Date().toISOString();
    this.#record.resumeTo = paused ? 'paused' : 'running';
    this.#record.restores = restoreFrom !== null;
    await endStrays(this.#context.definition.id);
    for (const file of LOGS) shortenLog(file);
    this.#logStart = qemuLogSize();
    const qemu = await QemuProcess.spawn(program, args);
    try {
      this.#watch(qemu);
      await this.#enter('starting');
      await this.#connect(qemu);
      if (restoreFrom !== null) await this.#restore(restoreFrom, control);
      await reconcile(this.#live(), this.#specification);
      if (control.signal.aborted) throw new HvError('aborted', 'the start was cancelled');
    } catch (error) {
      this.#ending ??= this.#endStart(qemu);
      await this.#ending;
      throw error;
    }
    this.#prepared = {
      kind: 'start',
      commit: async () => {
        if (this.#record.resumeTo === 'paused') return this.#enter('paused');
        await this.#letRun();
        if (restoreFrom !== null) this.#guest.wakeUp();
      },
      abort: () => this.#end('failed', 'Its start was cancelled.'),
      keep: async () => {},
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
    const paused = await this.#halt('save', 'saving');
    this.#prepared = await this.#preparing(() => prepareSave(this.#stoppable(), file, control));
    return { paused };
  }

  async #snapshot(request: Extract<WorkerRequest, { op: 'snapshot' }>, control: OrderControl): Promise<unknown> {
    const paused = await this.#halt('take a snapshot', 'snapshotting');
    this.#prepared = await this.#preparing(() => prepareSnapshot(this.#stoppable(), request, control));
    return { paused };
  }

  /** Merges a file of a drive's chain into its parent, under the running guest. */
  async #merge(request: Extract<WorkerRequest, { op: 'merge' }>, control: OrderControl): Promise<unknown> {
    this.#requirePhase('merge a disk', 'running', 'paused');
    const { dataPlane } = this.#context;
    const { driveId: name, childPath, parentPath } = request;
    const { isLeaf } = await startMergeSoon(dataPlane, { name, path: childPath, parentPath }, control);
    if (!isLeaf) {
      await dataPlane.commitMerge(name);
      return {};
    }
    try {
      this.#requirePhase('merge a disk', 'running', 'paused');
      await this.#halt('merge a disk', 'merging');
    } catch (error) {
      await dataPlane.abandonMerge(name);
      throw error;
    }
    try {
      await dataPlane.closeMerge(name);
    } catch (error) {
      await this.#leaveMerging();
      throw error;
    }
    this.#prepared = {
      kind: 'merge',
      commit: async () => {
        await dataPlane.commitMerge(name);
        await this.#leaveMerging();
      },
      abort: async () => {
        await dataPlane.abandonMerge(name);
        await this.#leaveMerging();
      },
      // Whichever of the two files the definition names by now: every change goes to both until the end.
      keep: () => dataPlane.reopenMerge(name),
    };
    return {};
  }

  async #breakMirror(name: string, switchOver: boolean): Promise<unknown> {
    this.#requirePhase('break a mirror', 'running', 'paused');
    const { dataPlane } = this.#context;
    if (!switchOver) {
      await dataPlane.endMirror(name);
      return {};
    }
    await this.#halt('break a mirror', 'merging');
    try {
      await dataPlane.closeMirror(name);
    } catch (error) {
      await this.#leaveMerging();
      throw error;
    }
    const end = async (work: Promise<void>): Promise<void> => {
      await work;
      await this.#leaveMerging();
    };
    this.#prepared = {
      kind: 'break-mirror',
      commit: () => end(dataPlane.switchToMirror(name)),
      abort: () => end(dataPlane.reopenMirror(name)),
      keep: () => dataPlane.reopenMirror(name),
    };
    return {};
  }

  async #applySettings(specification: VmSpecification): Promise<unknown> {
    this.#requirePhase('change its settings', 'running', 'paused');
    const { dataPlane } = this.#context;
    this.#prepared = await prepareSettings(
      this.#live(),
      dataPlane,
      { from: this.#specification, to: specification },
      () => {
        this.#specification = specification;
      },
    );
    return {};
  }

  #live(): LiveMachine {
    return { monitor: this.#monitor(), runFolder: this.#context.runFolder };
  }

  /** Back to where the merge began; the guest may have been stopped by its disk meanwhile. */
  async #leaveMerging(): Promise<void> {
    if (this.#ending) return;
    const { isRunning } = await queryStatus(this.#monitor());
    await this.#enter(isRunning ? 'running' : 'paused');
  }

  /** A preparation that fails has let the guest go on; where it has not even done that, a successor will. */
  async #preparing(prepare: () => Promise<Prepared>): Promise<Prepared> {
    try {
      return await prepare();
    } catch (error) {
      const isStuck = this.#record.phase === 'saving' || this.#record.phase === 'snapshotting';
      if (isStuck) this.#handOver();
      throw error;
    }
  }

  #stoppable(): StoppableMachine {
    return {
      dataPlane: this.#context.dataPlane,
      nvramFile: this.#context.definition.nvramFile,
      stateSocket: this.#socket('state'),
      monitor: () => this.#monitor(),
      goOn: () => this.#goOn(),
      end: (kind, message) => this.#end(kind, message),
    };
  }

  /** Remembers where to return to, from running or paused. */
  async #halt(doing: string, phase: Phase): Promise<boolean> {
    this.#requirePhase(doing, 'running', 'paused');
    this.#record.resumeTo = this.#record.phase === 'paused' ? 'paused' : 'running';
    await this.#enter(phase);
    return this.#record.resumeTo === 'paused';
  }

  /** Lets the guest go on after an operation that stopped it. */
  async #goOn(): Promise<void> {
    if (this.#ending || !this.#qmp || this.#qmp.isClosed) return;
    if (this.#record.resumeTo === 'running') {
      await this.#letRun();
      return;
    }
    await returnToPaused(this.#monitor());
    await this.#enter('paused');
  }

  /**
   * Writes down that the guest runs, then has it run. In this order, because a disk that fails at once stops it again
   * before QEMU's answer is here, and then that is the last word.
   */
  async #letRun(): Promise<void> {
    const { phase, pauseReason } = this.#record;
    this.#record.phase = 'running';
    this.#record.pauseReason = null;
    try {
      await this.#record.write();
      await cont(this.#monitor());
    } catch (error) {
      if (this.#ending) throw error;
      this.#record.phase = phase;
      this.#record.pauseReason = pauseReason;
      await this.#attempt('the phase', () => this.#record.write());
      throw error;
    }
    // A restored or adopted guest may have had the port open all along: no event tells.
    if (await isChardevOpen(this.#monitor(), AGENT_CHANNEL)) this.#guest.setOpen(true);
  }

  async #decide(decision: 'commit' | 'abort'): Promise<unknown> {
    const prepared = this.#prepared;
    if (!prepared) throw new HvError('invalid-state', 'nothing waits for a decision');
    if (this.#ending) {
      await this.#ending; // which keeps what was prepared
      if (prepared.kind === 'start') throw new HvError('process-failed', 'the machine was switched off meanwhile');
      return {};
    }
    try {
      await prepared[decision]();
    } catch (error) {
      // The definition has been written: a successor makes the machine what it says.
      log(`${prepared.kind}: ${describe(error)}`);
      this.#handOver();
      throw error;
    }
    this.#prepared = undefined;
    return {};
  }

  /** Leaves the machine to a successor, once the answer is sent. A QEMU that is gone is the business of the way out. */
  #handOver(): void {
    setImmediate(() => {
      if (this.#qmp && !this.#qmp.isClosed) this.abandonDecision();
    });
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
    this.#logCap ??= new LogCap(LOGS);
    this.#qemu = qemu;
    this.#record.qemu = qemu.identity;
    void qemu.exited.then(async () => {
      // Asked for, or reported by the start itself.
      if (this.#ending || (this.#record.phase === 'starting' && !this.#prepared)) return;
      const tail = lastLine(qemuLogTail(this.#logStart));
      await this.#end('crashed', tail ? `${qemu.describeExit()}: ${tail}` : `${qemu.describeExit()}.`, {
        isAbrupt: true,
      });
    });
  }

  #onEvent(event: QmpEvent): void {
    this.#happenings.qemu(event);
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
        if (event.data.id === AGENT_PORT) this.#guest.setOpen(event.data.open === true);
        return;
      case 'BLOCK_IO_ERROR':
        this.#record.pauseReason =
          event.data.nospace === true
            ? 'No space is left on the host for one of its disks.'
            : 'One of its disks failed on the host.';
        return;
      case 'STOP':
        if (this.#record.phase === 'running' && this.#record.pauseReason !== null)
          void this.#attempt('the pause', () => this.#enter('paused'));
        return;
      default:
        return;
    }
  }

  /** The one way out: QEMU gone, disks flushed and closed, the reason kept. Runs once, never fails: what does not work is logged. */
  #end(kind: LastExit['kind'], message: string, options: { readonly isAbrupt?: boolean } = {}): Promise<void> {
    this.#ending ??= (async () => {
      await this.#attempt('the phase', () => this.#enter('stopping'));
      // QEMU does not end while requests of its own wait for an answer.
      const prepared = this.#prepared;
      const holdsRequests = prepared?.kind === 'merge' || prepared?.kind === 'break-mirror';
      if (holdsRequests) await this.#attempt('the held requests', prepared.keep);
      const qemu = this.#qemu;
      const isClosed = !qemu || (await this.#teardown(qemu, options.isAbrupt === true));
      const text = isClosed ? message : `${message} One of its disks could not be closed in order.`;
      await this.#attempt('the reason', () =>
        writeLastExit('.', {
          schemaVersion: 1,
          time: new Date().toISOString(),
          kind,
          message: text.slice(0, 2000),
        }),
      );
      await this.#happenings.ended(kind, text);
      await this.#forget();
    })();
    return this.#ending;
  }

  /** A start that came to nothing leaves no reason: whoever asked for it hears it. */
  async #endStart(qemu: QemuProcess): Promise<void> {
    await this.#teardown(qemu, true);
    await this.#happenings.ended('failed', 'Its start failed.');
    await this.#forget();
  }

  /** Last: whoever sees the machine off also finds the reason. */
  async #forget(): Promise<void> {
    this.#context.stopListening();
    await this.#attempt('the record', () => removeRuntime(this.#context.runFolder));
    setImmediate(() => this.#context.leave(0));
  }

  /** @returns whether the disks are closed in order */
  async #teardown(qemu: QemuProcess, isAbrupt: boolean): Promise<boolean> {
    const qmp = this.#qmp;
    if (!isAbrupt && qmp && !qmp.isClosed) {
      await this.#attempt('an orderly end', () => quit(qmp, { timeoutMs: FLUSH_AND_QUIT_MS })); // it is killed below in any case
    }
    await this.#attempt("QEMU's end", () => qemu.kill());
    await this.#attempt('the agent', () => this.#guest.close());
    await this.#attempt('the monitor', async () => qmp?.close());
    this.#logCap?.[Symbol.dispose]();
    const isKept = await this.#attempt('what was prepared', async () => this.#prepared?.keep());
    return (await this.#attempt('the disks', () => this.#context.dataPlane.close())) && isKept;
  }

  /** A step of the way out: its failure must not stop the next. */
  async #attempt(what: string, work: () => Promise<void>): Promise<boolean> {
    try {
      await work();
      return true;
    } catch (error) {
      log(`${what}: ${describe(error)}`);
      return false;
    }
  }

  #monitor(): QmpClient {
    if (!this.#qmp) throw new HvError('invalid-state', 'the machine is not started');
    return this.#qmp;
  }

  #socket(name: keyof typeof SOCKETS): string {
    return `${this.#context.runFolder}/${SOCKETS[name]}`;
  }

  #requirePhase(doing: string, ...legal: readonly Phase[]): void {
    if (this.#ending || !legal.includes(this.#record.phase) || this.#prepared) {
      throw new HvError('invalid-state', `cannot ${doing} while the machine is ${this.#record.phase}`, {
        detail: { phase: this.#record.phase },
      });
    }
  }

  /** An order that stops the guest for a moment only makes its agent's answer late. */
  get #isGuestUp(): boolean {
    const { phase, resumeTo } = this.#record;
    if (this.#ending) return false;
    return (
      phase === 'running' ||
      (resumeTo === 'running' && phase !== 'starting' && phase !== 'paused' && phase !== 'stopping')
    );
  }

  /** Writes the phase down before anything relies on it. */
  async #enter(phase: Phase): Promise<void> {
    const before = this.#record.phase;
    this.#record.phase = phase;
    try {
      await this.#record.write();
    } catch (error) {
      if (this.#record.phase === phase) this.#record.phase = before; // it was not entered
      throw error;
    }
  }
}

/** A decision was left open: the keeper starts a successor. */
export const EXIT_UNDECIDED = 75;

function lastLine(text: string): string {
  return printableGuestText(text.split('\n').at(-1) ?? '').trim();
}
