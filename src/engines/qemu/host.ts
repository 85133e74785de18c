import type { Host, HostCapabilities } from '../../host/index.ts';
import { checkRunFolder, resolvePaths } from '../../state/index.ts';
import { isAlive } from '../../system/index.ts';
import { chooseAcceleration } from './acceleration.ts';
import { EngineContext } from './context.ts';
import { QemuDiskService } from './disks.ts';
import { QemuEventService } from './events.ts';
import { QemuGuestService } from './guest/service.ts';
import { askKeeper, connectKeeper } from './keeper/client.ts';
import { runtimeRecords } from './keeper/keeper.ts';
import { QemuKeyboardService } from './keyboard.ts';
import { OperationRecorder } from './operation-log.ts';
import { QemuSnapshotService } from './snapshots.ts';
import { QemuStorageService } from './storage.ts';
import { QemuSwitchService } from './switches.ts';
import { QemuSystemService } from './system.ts';
import { finishOperations } from './unfinished.ts';
import { QemuVmService } from './vms.ts';

/** The Host contract on QEMU. Opening it brings back workers whose keeper died with them. */
export class QemuHost implements Host {
  readonly system: QemuSystemService;
  readonly vms: QemuVmService;
  readonly snapshots: QemuSnapshotService;
  readonly storage: QemuStorageService;
  readonly disks: QemuDiskService;
  readonly switches: QemuSwitchService;
  readonly guest: QemuGuestService;
  readonly keyboard: QemuKeyboardService;
  readonly events: QemuEventService;

  private constructor(context: EngineContext) {
    const recorder = new OperationRecorder(context.paths, async (vmId) => {
      return (await context.store.find(vmId).catch(() => undefined))?.specification.name ?? null;
    });
    const disks = new QemuDiskService(context);
    const guest = new QemuGuestService(context);
    this.system = recorder.record('system', new QemuSystemService(context));
    this.disks = recorder.record('disks', disks);
    this.guest = recorder.record('guest', guest);
    this.vms = recorder.record('vms', new QemuVmService(context, disks, guest));
    this.storage = recorder.record('storage', new QemuStorageService(context, disks));
    this.snapshots = recorder.record('snapshots', new QemuSnapshotService(context));
    this.switches = recorder.record('switches', new QemuSwitchService());
    this.keyboard = recorder.record('keyboard', new QemuKeyboardService(context));
    this.events = new QemuEventService(context);
  }

  /** @throws HvError `permission-denied` when the run folder is somebody else's */
  static async open(options: { readonly home?: string } = {}): Promise<QemuHost> {
    const context = new EngineContext(resolvePaths(options));
    await checkRunFolder(context.paths);
    await rescueOrphans(context);
    await finishOperations(context);
    return new QemuHost(context);
  }

  async capabilities(): Promise<HostCapabilities> {
    return {
      engine: 'qemu',
      guestExecution: true,
      acceleration: chooseAcceleration(),
      generations: [1, 2],
      snapshotTypes: ['Standard'],
      saveState: true,
      guestAgent: true,
    };
  }

  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Machines run without a keeper or a worker, but they should not have to. */
async function rescueOrphans(context: EngineContext): Promise<void> {
  const records = await runtimeRecords(context.paths);
  if (records.length === 0) return;
  const isOrphan = records.some((record) => !isAlive(record.worker));
  if (isOrphan) await askKeeper(context.paths, { op: 'rescue' });
  else await (await connectKeeper(context.paths)).close();
}
