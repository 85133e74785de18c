import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { LongOptions } from '../../async/index.ts';
import { type CreateVhdOptions, createVhd, type VhdInfo, vhdInfo } from '../../disk/index.ts';
import type { DiskService, DiskUser } from '../../host/index.ts';
import type { EngineContext } from './context.ts';
import { namedLayers } from './layers.ts';

/** Virtual hard disk files, through the engine of disk/. */
export class QemuDiskService implements DiskService {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  async create(path: string, options: CreateVhdOptions & LongOptions): Promise<VhdInfo> {
    return createVhd(resolve(path), options);
  }

  async info(path: string): Promise<VhdInfo> {
    return vhdInfo(resolve(path));
  }

  async users(path: string): Promise<DiskUser[]> {
    const wanted = await canonicalPath(path);
    const users: DiskUser[] = [];
    for (const definition of await this.#context.store.list()) {
      const user = { id: definition.id, name: definition.specification.name };
      const drives = [...namedLayers(definition), ...Object.values(definition.attached)];
      if (await includesPath(drives, wanted)) users.push({ ...user, as: 'drive' });
      else if (await includesPath(Object.values(definition.parents).flat(), wanted))
        users.push({ ...user, as: 'parent' });
    }
    return users;
  }
}

async function includesPath(paths: readonly string[], wanted: string): Promise<boolean> {
  for (const path of paths) if (path === wanted || (await canonicalPath(path)) === wanted) return true;
  return false;
}

/** The path without symbolic links; as it is where nothing is there yet. */
export async function canonicalPath(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch {
    return resolve(path);
  }
}
