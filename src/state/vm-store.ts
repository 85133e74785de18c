import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError, HvError, isSystemError } from '../errors/index.ts';
import { nameKey } from '../model/index.ts';
import { acquireLock, type FileLock, writeFileAtomic } from '../system/index.ts';
import { parseDefinition, type VmDefinition } from './definition.ts';
import { bringUp } from './migrations.ts';
import { ensureFolder, type HvPaths, vmPaths } from './paths.ts';

const GUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const SHORT_ID = /^[0-9a-f]{8}$/;
const LOCK_TIMEOUT_MS = 30_000;

/** A machine whose definition cannot be read. */
export interface DamagedDefinition {
  readonly id: string;
  readonly path: string;
  /** `corrupt`, `unsupported` (a later hv wrote it) or `io`. */
  readonly error: HvError;
}

/** The definitions under HV_HOME/vms. Reading needs no lock, because a definition is replaced in one step. */
export class VmStore {
  readonly paths: HvPaths;

  constructor(paths: HvPaths) {
    this.paths = paths;
  }

  /**
   * Every definition, by name. A damaged one is an error that names its file: for who must know of every machine, as when
   * names and disks are claimed. @throws HvError `corrupt`, `unsupported`, `io`
   */
  async list(): Promise<VmDefinition[]> {
    const { definitions, damaged } = await this.survey();
    const [first] = damaged;
    if (first) throw first.error;
    return definitions;
  }

  /** Every definition that can be read, by name, and beside them those that cannot. */
  async survey(): Promise<{ readonly definitions: VmDefinition[]; readonly damaged: readonly DamagedDefinition[] }> {
    const definitions: VmDefinition[] = [];
    const damaged: DamagedDefinition[] = [];
    for (const id of await this.#ids()) {
      try {
        const found = await this.find(id);
        if (found) definitions.push(found);
      } catch (error) {
        damaged.push({
          id,
          path: vmPaths(this.paths, id).definition,
          error: fromSystemError(error, 'cannot read a definition'),
        });
      }
    }
    definitions.sort((a, b) => a.specification.name.localeCompare(b.specification.name) || (a.id < b.id ? -1 : 1));
    return { definitions, damaged };
  }

  async #ids(): Promise<string[]> {
    try {
      return (await readdir(this.paths.vms)).filter((name) => GUID.test(name));
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return [];
      throw fromSystemError(error, `cannot read the folder ${this.paths.vms}`, { path: this.paths.vms });
    }
  }

  /** Undefined where there is no such machine. @throws HvError `corrupt`, `unsupported` (a later hv wrote it), `io` */
  async find(vmId: string): Promise<VmDefinition | undefined> {
    const path = vmPaths(this.paths, vmId).definition;
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if (isSystemError(error, 'ENOENT')) return undefined;
      throw fromSystemError(error, `cannot read the definition ${path}`, { path });
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new HvError('corrupt', `the definition ${path} is not JSON`, { detail: { path }, cause: error });
    }
    const parsed = parseDefinition(bringUp(value, path));
    if ('problem' in parsed) {
      throw new HvError('corrupt', `the definition ${path} is damaged: ${parsed.problem}`, { detail: { path } });
    }
    if (parsed.definition.id !== vmId) {
      throw new HvError('corrupt', `the definition ${path} belongs to another machine`, {
        detail: { path, id: parsed.definition.id },
      });
    }
    return parsed.definition;
  }

  /** @throws HvError `not-found` */
  async load(vmId: string): Promise<VmDefinition> {
    const definition = GUID.test(vmId) ? await this.find(vmId) : undefined;
    if (!definition)
      throw new HvError('not-found', `there is no virtual machine with the id ${vmId}`, { detail: { id: vmId } });
    return definition;
  }

  /** By id, else by name whatever its case, else by the first eight digits of the id, as lists show it. @throws HvError `not-found`, `ambiguous-name`, `corrupt` (it may be the one that cannot be read) */
  async resolve(nameOrId: string): Promise<VmDefinition> {
    const lowered = nameOrId.toLowerCase();
    if (GUID.test(lowered)) {
      const byId = await this.find(lowered);
      if (byId) return byId;
    }
    const key = nameKey(nameOrId);
    const { definitions: all, damaged } = await this.survey();
    const named = all.filter((definition) => nameKey(definition.specification.name) === key);
    const matches =
      named.length === 0 && SHORT_ID.test(lowered) ? all.filter(({ id }) => id.startsWith(lowered)) : named;
    const [only] = matches;
    if (!only) {
      const [unreadable] = damaged;
      if (unreadable) throw unreadable.error;
      throw new HvError('not-found', `there is no virtual machine named ${JSON.stringify(nameOrId)}`, {
        detail: { name: nameOrId },
        hint: 'See: hv vm list',
      });
    }
    if (matches.length > 1) {
      throw new HvError('ambiguous-name', `${matches.length} virtual machines are named ${JSON.stringify(nameOrId)}`, {
        detail: { name: nameOrId, ids: matches.map((definition) => definition.id) },
        hint: `Use an id: ${matches.map((definition) => definition.id).join(', ')}`,
      });
    }
    return only;
  }

  /** Replaces the definition in one step; it is on the disk when this returns. */
  async save(definition: VmDefinition): Promise<void> {
    const paths = vmPaths(this.paths, definition.id);
    await ensureFolder(paths.folder);
    await writeFileAtomic(paths.definition, `${JSON.stringify(definition, undefined, 2)}\n`, { mode: 0o600 });
  }

  /** Forgets a machine: the definition first, so that a crash leaves a folder without a machine, not a machine without files. */
  async remove(vmId: string): Promise<void> {
    const { folder, definition } = vmPaths(this.paths, vmId);
    try {
      await rm(definition, { force: true });
      await rm(folder, { recursive: true, force: true });
    } catch (error) {
      throw fromSystemError(error, `cannot remove the folder ${folder}`, { path: folder });
    }
  }

  /** One changer at a time for a machine. @throws HvError `in-use` when another command holds it too long */
  async lock(vmId: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<FileLock> {
    return acquireLock(vmPaths(this.paths, vmId).lock, { timeoutMs: LOCK_TIMEOUT_MS, signal: options.signal });
  }

  /**
   * From an order whose outcome the definition decides until that is decided. A successor of the worker that had the order
   * waits for it, and only then believes the definition. @throws HvError `in-use`
   */
  async lockDecision(vmId: string): Promise<FileLock> {
    return acquireLock(vmPaths(this.paths, vmId).decisionLock, { timeoutMs: LOCK_TIMEOUT_MS });
  }

  /** One creator or renamer at a time for the whole home: names and disks are claimed under it. */
  async lockNames(options: { readonly signal?: AbortSignal | undefined } = {}): Promise<FileLock> {
    return acquireLock(join(this.paths.home, 'names.lock'), { timeoutMs: LOCK_TIMEOUT_MS, signal: options.signal });
  }
}
