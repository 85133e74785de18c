import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type LongOptions, sleep, throwIfAborted } from '../../async/index.ts';
import { HvError, invariant, isHvError } from '../../errors/index.ts';
import type { ConsoleEndpoint, DryRun, StopOptions, VmLogs, VmService } from '../../host/index.ts';
import {
  type CreateVmOptions,
  type VmInfo,
  type VmSettings,
  type VmSpecification,
  type VmSummary,
  validName,
  type WaitCondition,
  withSettings,
} from '../../model/index.ts';
import { type VmDefinition, vmPaths } from '../../state/index.ts';
import { isAlive } from '../../system/index.ts';
import { changeSettings } from './change-settings.ts';
import type { EngineContext } from './context.ts';
import { createVm, planVm, requireFreeName } from './create-vm.ts';
import { readTail, removeDataFolder } from './data-folder.ts';
import type { QemuDiskService } from './disks.ts';
import type { QemuGuestService } from './guest/service.ts';
import { isSshThere, requireRoute } from './guest/ssh.ts';
import { finishPending, isOwnLayer, simplifyLayers } from './layers.ts';
import { type Observation, observe, uptimeSeconds } from './observe.ts';
import { discardSavedState, forceOff, judge, mustFitHost, saveMachine, startMachine } from './run-state.ts';
import { SOCKETS } from './sockets.ts';
import { ownedFiles, removeOwnedFile } from './unfinished.ts';
import { order } from './worker/client.ts';
import { SERIAL_LOG } from './worker/launch.ts';
import { KEPT_LOG_BYTES } from './worker/log-cap.ts';
import { QEMU_LOG } from './worker/qemu-process.ts';
import { screenshotSchema } from './worker/wire.ts';

const STOP_TIMEOUT_MS = 60_000;
/** A guest that is still booting does not hear the power button: it is pressed again. */
const PRESS_AGAIN_MS = 8000;
const WAIT_TIMEOUT_MS = 120_000;
const ASK_INTERVAL_MS = 250;
const LOG_BYTES = 256 * 1024;

/** Virtual machines in QEMU. */
export class QemuVmService implements VmService {
  readonly #context: EngineContext;
  readonly #disks: QemuDiskService;
  readonly #guest: QemuGuestService;

  constructor(context: EngineContext, disks: QemuDiskService, guest: QemuGuestService) {
    this.#context = context;
    this.#disks = disks;
    this.#guest = guest;
  }

  async list(): Promise<VmSummary[]> {
    const { definitions } = await this.#context.store.survey();
    return Promise.all(
      definitions.map(async (definition) => summarize(definition, await observe(this.#context, definition))),
    );
  }

  async unreadable(): Promise<HvError[]> {
    return (await this.#context.store.survey()).damaged.map(({ error }) => error);
  }

  async resolve(nameOrId: string): Promise<{ readonly id: string; readonly name: string }> {
    const { id, specification } = await this.#context.store.resolve(nameOrId);
    return { id, name: specification.name };
  }

  async info(vmId: string): Promise<VmInfo> {
    const definition = await this.#context.store.load(vmId);
    const observation = await observe(this.#context, definition);
    const { runtime } = observation;
    const [isAnswering, addresses] =
      observation.state === 'Running'
        ? await Promise.all([this.#guest.heartbeat(vmId), this.#guest.ipAddresses(vmId)])
        : [null, []];
    return {
      ...settingsOf(definition.specification),
      ...summarize(definition, observation),
      creationTime: definition.creationTime,
      stateReason: observation.reason,
      networkAdapters: definition.specification.networkAdapters.map((adapter) => ({
        ...adapter,
        ipAddresses: addresses.find((entry) => entry.macAddress === adapter.macAddress)?.addresses ?? [],
      })),
      heartbeat: isAnswering === null ? null : isAnswering ? 'ok' : 'no-contact',
      snapshotCount: definition.snapshots.length,
      currentSnapshotId: definition.currentSnapshotId,
      configurationPath: vmPaths(this.#context.paths, vmId).definition,
      machineVersion: definition.machineType,
      processes: runtime
        ? { engine: runtime.qemu.pid, worker: isAlive(runtime.worker) ? runtime.worker.pid : null }
        : null,
      acceleration: runtime?.acceleration ?? null,
      vncSocketPath:
        runtime && observation.state !== 'Stopping' ? `${this.#context.runFolder(vmId)}/${SOCKETS.vnc}` : null,
    };
  }

  create(options: CreateVmOptions, long: LongOptions = {}): Promise<{ readonly id: string }> {
    return createVm(this.#context, this.#disks, options, long);
  }

  async checkCreate(options: CreateVmOptions): Promise<void> {
    await planVm(this.#context, this.#disks, options);
  }

  async start(vmId: string, long: LongOptions = {}): Promise<void> {
    await this.#context.withLock(vmId, long.signal, async (definition) => {
      if ((await judge(this.#context, definition, 'start')) === 'done') return;
      const { state } = await observe(this.#context, definition);
      if (state === 'Paused') await this.#tell(vmId, 'resume');
      else await startMachine(this.#context, definition, long);
    });
  }

  async stop(vmId: string, options: LongOptions & StopOptions = {}): Promise<void> {
    const { signal, onProgress, timeoutMs = STOP_TIMEOUT_MS, guestAgent = false } = options;
    const definition = await this.#context.store.load(vmId);
    if ((await judge(this.#context, definition, 'stop')) === 'done') return;
    const began = performance.now();
    let pressedMs = Number.NEGATIVE_INFINITY;
    for (;;) {
      throwIfAborted(signal, 'waiting for the guest to shut down');
      const observation = await observe(this.#context, definition);
      if (!observation.runtime) return;
      const elapsedMs = performance.now() - began;
      if (elapsedMs > timeoutMs) {
        throw new HvError(
          'timeout',
          `the guest of "${definition.specification.name}" did not shut down within ${Math.round(timeoutMs / 1000)} s; it is still running`,
          {
            detail: { id: vmId, timeoutMs, state: observation.state },
            hint: `It may be busy or have no ACPI support. Through its agent: --guest-agent. Cut its power: hv vm force-stop ${JSON.stringify(definition.specification.name)}`,
          },
        );
      }
      if (observation.state === 'Running' && elapsedMs - pressedMs > PRESS_AGAIN_MS) {
        const isFirst = pressedMs < 0;
        pressedMs = elapsedMs;
        await this.#askToStop(() => this.#tell(vmId, 'shutdown'));
        if (guestAgent && !isFirst) await this.#askToStop(() => this.#guest.shutdown(vmId));
      }
      onProgress?.({ phase: 'shutdown', done: Math.round(elapsedMs), total: timeoutMs });
      await sleep(50, { signal });
    }
  }

  async #askToStop(ask: () => Promise<void>): Promise<void> {
    try {
      await ask();
    } catch (error) {
      // On its way off already, gone, or without an agent that answers: the next look tells.
      if (
        !isHvError(error, 'invalid-state') &&
        !isHvError(error, 'timeout') &&
        !isHvError(error, 'process-failed') &&
        !isHvError(error, 'io') &&
        !isHvError(error, 'not-found')
      )
        throw error;
    }
  }

  /** Takes no lock while the machine runs: it must work while another command waits for the guest. */
  async forceStop(vmId: string): Promise<void> {
    const definition = await this.#context.store.load(vmId);
    if ((await judge(this.#context, definition, 'forceStop')) === 'done') return;
    await forceOff(this.#context, definition);
    await this.#context.withLock(vmId, undefined, async (current) => {
      // It may have been saved, and been started again by a command that held the lock.
      await forceOff(this.#context, current);
      await discardSavedState(this.#context, await this.#context.store.load(vmId));
    });
  }

  async pause(vmId: string): Promise<void> {
    await this.#context.withLock(vmId, undefined, async (definition) => {
      if ((await judge(this.#context, definition, 'pause')) === 'do') await this.#tell(vmId, 'pause');
    });
  }

  async resume(vmId: string, long: LongOptions = {}): Promise<void> {
    await this.#context.withLock(vmId, long.signal, async (definition) => {
      if ((await judge(this.#context, definition, 'resume')) === 'done') return;
      const { state } = await observe(this.#context, definition);
      if (state === 'Saved') await startMachine(this.#context, definition, long);
      else await this.#tell(vmId, 'resume');
    });
  }

  async save(vmId: string, long: LongOptions = {}): Promise<void> {
    await this.#context.withLock(vmId, long.signal, async (definition) => {
      if ((await judge(this.#context, definition, 'save')) === 'do') await saveMachine(this.#context, definition, long);
    });
  }

  async reset(vmId: string): Promise<void> {
    await this.#context.withLock(vmId, undefined, async (definition) => {
      await judge(this.#context, definition, 'reset');
      await this.#tell(vmId, 'reset');
    });
  }

  async delete(
    vmId: string,
    options: LongOptions & { readonly withDisks?: boolean } = {},
  ): Promise<{ readonly deletedPaths: string[] }> {
    return this.#context.withLock(vmId, options.signal, async (found) => {
      await judge(this.#context, found, 'delete');
      await this.#context.releaseDisks(vmId);
      const definition = options.withDisks ? found : await this.#bringDisksUp(found, options);
      const disks = options.withDisks ? await ownedFiles(Object.values(found.attached)) : [];
      const { dataPath } = definition;
      await using operation = await this.#context.operations.begin({ kind: 'delete-vm', vmId, dataPath, disks });
      await this.#context.store.remove(vmId);
      await removeDataFolder(definition);
      await rm(this.#context.runFolder(vmId), { recursive: true, force: true });
      const deletedPaths: string[] = [];
      for (const disk of disks) if (await removeOwnedFile(disk)) deletedPaths.push(disk.path);
      await operation.finish();
      return { deletedPaths };
    });
  }

  /** The disks that stay shall hold the present state: all that lies in layers above them goes into them. */
  async #bringDisksUp(found: VmDefinition, long: LongOptions): Promise<VmDefinition> {
    let definition = await finishPending(this.#context, found, long);
    const isUp = (): boolean =>
      definition.specification.hardDiskDrives.every((drive) => !isOwnLayer(definition, drive.path));
    // Also without snapshots there may be layers: of a snapshot whose deletion was cut short.
    if (definition.snapshots.length === 0 && isUp()) return definition;
    definition = await discardSavedState(this.#context, { ...definition, snapshots: [], currentSnapshotId: null });
    await this.#context.store.save(definition);
    definition = await simplifyLayers(this.#context, definition, long);
    invariant(isUp(), 'the present state of every disk is in the file that was attached');
    return definition;
  }

  async diskPaths(vmId: string): Promise<string[]> {
    return Object.values((await this.#context.store.load(vmId)).attached);
  }

  async rename(vmId: string, name: string): Promise<void> {
    const wanted = validName(name, 'machine name');
    await this.#context.store.load(vmId);
    await using _names = await this.#context.store.lockNames();
    await requireFreeName(this.#context, wanted, vmId);
    await this.#context.withLock(vmId, undefined, async (definition) => {
      await this.#context.store.save({ ...definition, specification: { ...definition.specification, name: wanted } });
    });
  }

  async set(vmId: string, settings: VmSettings, options: DryRun = {}): Promise<VmInfo> {
    return this.#context.withLock(vmId, undefined, async (definition) => {
      const { state } = await observe(this.#context, definition);
      const specification = withSettings(definition.specification, settings, state);
      if (settings.memoryBytes !== undefined) mustFitHost(specification);
      if (options.dryRun !== true) await changeSettings(this.#context, definition, { ...definition, specification });
      return { ...(await this.info(vmId)), ...settingsOf(specification) };
    });
  }

  async logs(vmId: string, options: { readonly maxBytes?: number } = {}): Promise<VmLogs> {
    const maxBytes = Math.min(options.maxBytes ?? LOG_BYTES, KEPT_LOG_BYTES);
    const { dataPath } = await this.#context.store.load(vmId);
    return {
      serial: await readTail(join(dataPath, SERIAL_LOG), maxBytes),
      engine: await readTail(join(dataPath, QEMU_LOG), maxBytes),
      worker: await readTail(vmPaths(this.#context.paths, vmId).workerLog, maxBytes),
    };
  }

  async console(vmId: string): Promise<ConsoleEndpoint> {
    await this.#requireLiving(vmId, 'its console');
    return { path: `${this.#context.runFolder(vmId)}/${SOCKETS.serial}` };
  }

  async screenshot(vmId: string): Promise<Uint8Array> {
    await this.#requireLiving(vmId, 'a screenshot');
    await using worker = await this.#context.worker(vmId);
    const { pngBase64 } = await worker.ask(order({ op: 'screenshot' }), screenshotSchema);
    return Buffer.from(pngBase64, 'base64');
  }

  async waitFor(
    vmId: string,
    condition: WaitCondition,
    options: LongOptions & { readonly timeoutMs?: number } = {},
  ): Promise<boolean> {
    const { signal, timeoutMs = WAIT_TIMEOUT_MS } = options;
    const definition = await this.#context.store.load(vmId);
    if (condition === 'ssh') requireRoute(definition);
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      throwIfAborted(signal, 'waiting');
      const { state, runtime } = await observe(this.#context, definition);
      if (condition === 'off') {
        if (!runtime) return true;
      } else {
        if (!runtime) return false; // it will not come by itself
        if (state === 'Running' && (await this.#holds(vmId, condition))) return true;
      }
      const leftMs = deadline - performance.now();
      if (leftMs <= 0) return false;
      await sleep(Math.min(ASK_INTERVAL_MS, leftMs), { signal });
    }
  }

  async #holds(vmId: string, condition: Exclude<WaitCondition, 'off'>): Promise<boolean> {
    if (condition === 'ready' || condition === 'heartbeat') return this.#guest.heartbeat(vmId);
    const addresses = (await this.#guest.ipAddresses(vmId)).flatMap((adapter) => adapter.addresses);
    if (condition === 'ip') return addresses.length > 0;
    return (await Promise.all(addresses.map((address) => isSshThere(address)))).includes(true);
  }

  async #requireLiving(vmId: string, what: string): Promise<void> {
    const definition = await this.#context.store.load(vmId);
    const { state, runtime } = await observe(this.#context, definition);
    if (!runtime) {
      throw new HvError(
        'invalid-state',
        `"${definition.specification.name}" is ${state}: ${what} needs a running machine`,
        {
          detail: { id: vmId, state },
          hint: 'Start it first.',
        },
      );
    }
  }

  async #tell(vmId: string, op: 'pause' | 'resume' | 'reset' | 'shutdown'): Promise<void> {
    await using worker = await this.#context.worker(vmId);
    await worker.call(order({ op }));
  }
}

/** What `info` shows of a definition as it stands there. */
function settingsOf(specification: VmSpecification): Omit<VmSpecification, 'allowedParents' | 'networkAdapters'> {
  const { allowedParents: _paths, networkAdapters: _adapters, ...settings } = specification;
  return settings;
}

function summarize(definition: VmDefinition, observation: Observation): VmSummary {
  const { id, specification } = definition;
  return {
    id,
    name: specification.name,
    state: observation.state,
    generation: specification.generation,
    processorCount: specification.processorCount,
    memoryBytes: specification.memoryBytes,
    uptimeSeconds: uptimeSeconds(observation),
  };
}
