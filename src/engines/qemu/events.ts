import { type FSWatcher, watch } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type Deferred, deferred } from '../../async/index.ts';
import { HvError, isSystemError } from '../../errors/index.ts';
import type { EventService } from '../../host/index.ts';
import type { EventQuery, HostEvent, OperationInfo, VmMeasurement } from '../../model/index.ts';
import { EventLog, EventReader, ensureFolder, type VmDefinition } from '../../state/index.ts';
import { processUsage, readProcess, threadSeconds } from '../../system/index.ts';
import type { EngineContext } from './context.ts';
import { observe, uptimeSeconds } from './observe.ts';
import { order } from './worker/client.ts';
import { EVENTS_FILE } from './worker/launch.ts';
import { measuredSchema } from './worker/wire.ts';

/** What happened: the log of commands in HV_HOME, and each machine's own in its data folder, read as one. */
export class QemuEventService implements EventService {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  async list(query: EventQuery = {}): Promise<HostEvent[]> {
    await using sources = new Sources(this.#context);
    await sources.add(query.vmId);
    return select(await sources.next(), query);
  }

  async *follow(
    options: { readonly signal: AbortSignal } & Pick<EventQuery, 'vmId' | 'since'>,
  ): AsyncGenerator<HostEvent> {
    const { signal, vmId, since } = options;
    await ensureFolder(this.#context.paths.home);
    await using sources = new Sources(this.#context, signal);
    await sources.add(vmId);
    if (!since) await sources.next(); // what is there already happened before
    while (!signal.aborted) {
      const events = select(await sources.next(), { vmId, since });
      yield* events;
      // A machine that is new has a log of its own from now on.
      const isNew = events.some((event) => event.kind === 'operation' && event.operation === 'vms.create');
      if (isNew) await sources.add(vmId);
      else await sources.more();
    }
  }

  async operations(query: EventQuery = {}): Promise<OperationInfo[]> {
    const { last, ...rest } = query;
    const operations = new Map<string, OperationInfo>();
    // The machine of a `create` is known at its end only: it is asked for afterwards.
    for (const event of await this.list({ since: rest.since })) {
      if (event.kind !== 'operation') continue;
      const begun = operations.get(event.operationId);
      const { kind: _kind, phase: _phase, time, outcome, ...facts } = event;
      operations.set(event.operationId, {
        ...facts,
        startTime: begun?.startTime ?? time,
        outcome: outcome ?? (isAtWork(event) ? 'running' : 'interrupted'),
      });
    }
    const found = [...operations.values()].filter(({ vmId }) => rest.vmId === undefined || vmId === rest.vmId);
    return last === undefined ? found : found.slice(-last);
  }

  async measure(vmId: string): Promise<VmMeasurement> {
    const definition = await this.#context.store.load(vmId);
    const observation = await observe(this.#context, definition);
    const { runtime } = observation;
    if (!runtime) throw notRunning(definition, observation.state);
    await using worker = await this.#context.worker(vmId);
    const measured = await worker.ask(order({ op: 'measure' }), measuredSchema);
    const { pid } = runtime.qemu;
    const usage = processUsage(pid);
    if (!usage) throw notRunning(definition, 'Off');
    return {
      vmId,
      vmName: definition.specification.name,
      time: new Date().toISOString(),
      uptimeSeconds: uptimeSeconds(observation),
      processorSeconds: usage.processorSeconds,
      virtualProcessorSeconds: measured.processorThreads.map((threadId) => threadSeconds(pid, threadId) ?? 0),
      residentBytes: usage.residentBytes,
      assignedBytes: measured.balloonBytes ?? definition.specification.memoryBytes,
      disks: measured.disks,
      // The guest may have others, and says what it likes of them.
      adapters: measured.adapters.filter(({ macAddress }) =>
        definition.specification.networkAdapters.some((adapter) => adapter.macAddress === macAddress),
      ),
    };
  }
}

/** The logs of a host, and word of when one of them grew. */
class Sources implements AsyncDisposable {
  readonly #context: EngineContext;
  readonly #signal: AbortSignal | undefined;
  readonly #readers = new Map<string, EventReader>();
  readonly #names = new Map<string, string>();
  readonly #watchers: FSWatcher[] = [];
  #grown: Deferred<void> = deferred();

  /** With a signal, the logs are watched until it fires. */
  constructor(context: EngineContext, signal?: AbortSignal) {
    this.#context = context;
    this.#signal = signal;
    signal?.addEventListener('abort', () => this.#grown.resolve(), { once: true });
  }

  /** Takes in the log of commands and those of machines that are not known yet. */
  async add(vmId: string | undefined): Promise<void> {
    this.#take(this.#context.paths.eventsFile, {});
    for (const { id, specification, dataPath } of (await this.#context.store.survey()).definitions) {
      this.#names.set(id, specification.name);
      if (vmId === undefined || vmId === id) this.#take(join(dataPath, EVENTS_FILE), { vmId: id });
    }
  }

  #take(path: string, options: { readonly vmId?: string }): void {
    if (this.#readers.has(path)) return;
    this.#readers.set(path, new EventReader(new EventLog(path), options));
    if (!this.#signal) return;
    try {
      const watcher = watch(dirname(path), (_event, name) => {
        if (name === null || name === basename(path)) this.#grown.resolve();
      });
      watcher.on('error', () => watcher.close()); // the folder went with its machine
      this.#watchers.push(watcher);
    } catch (error) {
      if (!isSystemError(error, 'ENOENT')) throw error;
    }
  }

  /** What was added since the last call, in the order of time. */
  async next(): Promise<HostEvent[]> {
    if (!this.#signal?.aborted) this.#grown = deferred();
    const events: HostEvent[] = [];
    for (const reader of this.#readers.values()) events.push(...(await reader.next()));
    return events
      .map((event) => ({ ...event, vmName: this.#names.get(event.vmId ?? '') ?? event.vmName }))
      .sort((a, b) => (a.time < b.time ? -1 : a.time > b.time ? 1 : 0));
  }

  /** Resolves when a log grew since `next` was called, or the signal fired. */
  more(): Promise<void> {
    return this.#grown.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const watcher of this.#watchers) watcher.close();
  }
}

function select(events: readonly HostEvent[], { vmId, since, last }: EventQuery): HostEvent[] {
  const from = since?.toISOString() ?? '';
  const found = events.filter((event) => event.time >= from && (vmId === undefined || event.vmId === vmId));
  return last === undefined ? found : found.slice(-last);
}

/** Its process is there, and is not a later one with the same number: that would have been started after. */
function isAtWork({ processId }: { readonly processId: number }): boolean {
  return readProcess(processId) !== undefined;
}

function notRunning({ id, specification }: VmDefinition, state: string): HvError {
  return new HvError('invalid-state', `"${specification.name}" is ${state}: there is nothing to measure`, {
    detail: { id, state },
    hint: 'Start it first.',
  });
}
