import { sleep } from '../../../async/index.ts';
import { HvError, isHvError } from '../../../errors/index.ts';
import type { AddExportOptions, AddedExport, DataPlane } from '../../../protocols/nbd/index.ts';
import {
  type RuntimeRecord,
  readRuntime,
  removeRuntime,
  resolvePaths,
  type VmDefinition,
  VmStore,
  vmPaths,
} from '../../../state/index.ts';
import { bootId, dropPrivileges, isAlive, isRoot } from '../../../system/index.ts';
import { accelerationGroups, chooseAcceleration } from '../acceleration.ts';
import { type Connection, ControlServer } from '../control/server.ts';
import { dvdNames } from '../drive-devices.ts';
import { isOwnLayer, knownParents, mergeableParents, mustBelong } from '../layers.ts';
import { describe, log } from '../log.ts';
import { SOCKETS } from '../sockets.ts';
import { prepareLaunch } from './launch.ts';
import { VmWorker } from './vm-worker.ts';
import { requestSchema, WIRE_VERSION } from './wire.ts';

export interface MachineToServe {
  readonly home: string;
  readonly run: string;
  readonly vmId: string;
  readonly diskThread: Promise<DataPlane>;
}

/** A command asked for this worker and then went away: its disks are not held for long. */
const IDLE_TIMEOUT_MS = 5000;
const HELD_FOR_A_MOMENT_MS = 1000;

/**
 * Becomes the worker of one machine.
 *
 *   as root:   read the definition, open the disks, look up QEMU and its firmware
 *   then:      become the machine's own user for good, listen, start or take over QEMU
 *
 * Everything that it ever needs is imported at the top: later the process may not read hv's own files any more.
 */
export async function serveMachine({ home, run, vmId, diskThread }: MachineToServe): Promise<void> {
  process.title = `hv-worker ${vmId}`;
  const paths = resolvePaths({ home, run });
  const runFolder = vmPaths(paths, vmId).run;
  const record = await readRuntime(runFolder);
  const left = record && record.bootId === bootId() && isAlive(record.qemu) ? record : undefined;
  const definition = await loadDecided(new VmStore(paths), vmId, left);
  process.chdir(definition.dataPath);
  const launch = await prepareLaunch(definition, runFolder);
  const dataPlane = await diskThread;
  const allowParents = knownParents(definition);
  for (const drive of definition.specification.hardDiskDrives) {
    const { layers } = await addExportSoon(dataPlane, {
      name: drive.id,
      path: drive.path,
      isPhysical: drive.isPhysical,
      allowParents,
      mergeable: mergeableParents(definition, drive.id),
      mirrorPath: definition.mirrors?.[drive.id],
    });
    // QEMU may live, and be hostile: what lies at a layer's place may be a link to another machine's disk by now.
    if (isOwnLayer(definition, drive.path)) mustBelong(definition, drive.path, layers[0] ?? '');
  }

  await addMedia(dataPlane, definition, left !== undefined);

  const acceleration = left?.acceleration ?? chooseAcceleration();
  if (isRoot() && definition.user) dropPrivileges({ ...definition.user, groups: accelerationGroups(acceleration) });

  await dataPlane.listen(`${runFolder}/${SOCKETS.nbd}`, { mode: 0o600 });
  let server: ControlServer | undefined;
  const worker = new VmWorker({
    definition,
    runFolder,
    dataPlane,
    launch,
    stopListening: () => server?.stopListening(),
    leave: (exitCode) => process.exit(exitCode),
  });
  if (left) await worker.adopt(left);
  else await removeRuntime(runFolder);

  server = await ControlServer.listen({
    socketPath: `${runFolder}/${SOCKETS.control}`,
    peer: 'a command',
    allowedUids: [process.getuid?.() ?? 0],
    onMessage: (connection, message) => answer(worker, connection, message),
  });
  const idle = setTimeout(() => {
    if (!worker.hasMachine) process.exit(0);
  }, IDLE_TIMEOUT_MS);
  idle.unref();
}

/** Offers the images in DVD drives. One that is gone keeps a machine from starting, but none that runs from its worker. */
async function addMedia(dataPlane: DataPlane, { specification }: VmDefinition, isRunning: boolean): Promise<void> {
  for (const dvd of specification.dvdDrives) {
    const { medium } = dvdNames(dvd);
    if (!medium || dvd.path === null) continue;
    try {
      await addExportSoon(dataPlane, { name: medium.export, path: dvd.path, format: 'raw', readOnly: true });
    } catch (error) {
      if (!isRunning) throw error;
      log(`the image in a DVD drive: ${describe(error)}`);
    }
  }
}

/**
 * Offers a disk. A command that only looks at it, or a worker that just leaves, holds it for a moment: that is waited
 * for before it counts as use.
 */
async function addExportSoon(dataPlane: DataPlane, options: AddExportOptions): Promise<AddedExport> {
  const deadline = performance.now() + HELD_FOR_A_MOMENT_MS;
  for (;;) {
    try {
      return await dataPlane.addExport(options);
    } catch (error) {
      if (!isHvError(error, 'in-use') || performance.now() > deadline) throw error;
    }
    await sleep(20);
  }
}

/**
 * The definition. Where a worker before this one left a machine, it may have died in the midst of an order that the
 * definition decides: it is read once the command has decided, which may live and be about to write it.
 */
async function loadDecided(store: VmStore, vmId: string, left: RuntimeRecord | undefined): Promise<VmDefinition> {
  await using _decision = left ? await store.lockDecision(vmId) : undefined;
  return await store.load(vmId);
}

async function answer(
  worker: VmWorker,
  connection: Connection,
  message: Readonly<Record<string, unknown>>,
): Promise<void> {
  const parsed = requestSchema.safeParse(message);
  if (!parsed.success) {
    const id = typeof message.id === 'number' ? message.id : 0;
    await connection.send({ id, error: new HvError('protocol', 'the worker does not understand this order').toJSON() });
    return;
  }
  const request = parsed.data;
  if (request.op === 'hello' && request.version !== WIRE_VERSION) {
    const failure = new HvError(
      'unsupported',
      `the worker speaks version ${WIRE_VERSION} of its protocol, not ${request.version}`,
      {
        hint: 'Stop the machine with the version of hv that started it.',
      },
    );
    await connection.send({ id: request.id, error: failure.toJSON() });
    return;
  }
  const gone = new AbortController();
  let isDone = false;
  void connection.closed.then(() => {
    gone.abort();
    if (isDone && isDeciding(request.op) && worker.isDecisionPending) worker.abandonDecision();
  });
  try {
    const result = await worker.perform(request, {
      signal: gone.signal,
      onProgress: (phase, done, total) => {
        void connection.send({ id: request.id, progress: { phase, done, ...(total === undefined ? {} : { total }) } });
      },
    });
    isDone = true;
    await connection.send({ id: request.id, result });
    if (gone.signal.aborted && isDeciding(request.op) && worker.isDecisionPending) worker.abandonDecision();
  } catch (error) {
    if (!isHvError(error)) log(describe(error));
    const failure = isHvError(error) ? error : new HvError('internal', 'the worker failed', { cause: error });
    await connection.send({ id: request.id, error: failure.toJSON() });
  }
}

const DECIDING: ReadonlySet<string> = new Set(['start', 'save', 'snapshot', 'merge', 'break-mirror', 'apply-settings']);

function isDeciding(op: string): boolean {
  return DECIDING.has(op);
}
