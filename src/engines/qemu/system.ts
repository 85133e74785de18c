import { stat } from 'node:fs/promises';
import { type as osType, release } from 'node:os';
import { isAbsolute, normalize } from 'node:path';
import { fromSystemError, HvError, isHvError } from '../../errors/index.ts';
import type { SystemService } from '../../host/index.ts';
import type { DoctorFinding, HostInfo, HostSettings } from '../../model/index.ts';
import { ensureFolder, ensureFolders, writeSettings } from '../../state/index.ts';
import { computerName, readCpu, readMemory } from '../../system/index.ts';
import { chooseAcceleration } from './acceleration.ts';
import type { EngineContext } from './context.ts';
import { examineHost } from './doctor.ts';
import { qemuVersion } from './qemu-programs.ts';

/** The host itself: what it has, where things are put, what it lacks. */
export class QemuSystemService implements SystemService {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  async info(): Promise<HostInfo> {
    const memory = readMemory();
    const settings = await this.#context.settings();
    return {
      computerName: computerName(),
      engine: 'qemu',
      engineVersion: await installedVersion(),
      operatingSystem: `${osType()} ${release()}`,
      logicalProcessorCount: readCpu().logicalProcessorCount,
      memoryCapacityBytes: memory.totalBytes,
      memoryAvailableBytes: memory.availableBytes,
      acceleration: chooseAcceleration(),
      vmPath: settings.vmPath,
      vhdPath: settings.vhdPath,
    };
  }

  async set(settings: HostSettings): Promise<HostInfo> {
    const current = await this.#context.settings();
    const vmPath = settings.vmPath === undefined ? current.vmPath : await usableFolder(settings.vmPath);
    const vhdPath = settings.vhdPath === undefined ? current.vhdPath : await usableFolder(settings.vhdPath);
    await ensureFolders(this.#context.paths);
    await writeSettings(this.#context.paths, { vmPath, vhdPath });
    return this.info();
  }

  doctor(): Promise<DoctorFinding[]> {
    return examineHost(this.#context.paths);
  }
}

/** Null where QEMU is not installed: the host can still handle disks. */
async function installedVersion(): Promise<string | null> {
  try {
    return (await qemuVersion()).text;
  } catch (error) {
    if (isHvError(error, 'missing-dependency') || isHvError(error, 'unsupported')) return null;
    throw error;
  }
}

async function usableFolder(path: string): Promise<string> {
  if (!isAbsolute(path)) {
    throw new HvError('invalid-argument', `the folder ${JSON.stringify(path)} is not an absolute path`, {
      detail: { path },
      hint: 'Give the whole path, from /.',
    });
  }
  const folder = normalize(path);
  try {
    if (!(await stat(folder)).isDirectory())
      throw new HvError('invalid-argument', `${folder} is not a folder`, { detail: { path: folder } });
  } catch (error) {
    if (isHvError(error)) throw error;
    const failure = fromSystemError(error, `cannot use the folder ${folder}`, { path: folder });
    if (failure.code !== 'not-found') throw failure;
    await ensureFolder(folder);
  }
  return folder;
}
