import { randomUUID } from 'node:crypto';
import { userInfo } from 'node:os';
import { isHvError } from '../../errors/index.ts';
import type { Host } from '../../host/index.ts';
import type { HostEvent, OperationFacts } from '../../model/index.ts';
import { EventLog, ensureFolder, type HvPaths } from '../../state/index.ts';

type Services = Omit<Host, 'capabilities' | 'close' | keyof AsyncDisposable>;
type Methods<S> = { readonly [M in keyof S]?: Subject };
/** The first argument is a machine's id, and a second one that is text the rest of what it is about; or it is that itself. */
type Subject = 'vm' | 'subject';

/** The methods that change something, by service: each call is written down. */
const RECORDED: { readonly [S in keyof Services]?: Methods<Services[S]> } = {
  system: { set: 'subject' },
  vms: {
    create: 'subject',
    start: 'vm',
    stop: 'vm',
    forceStop: 'vm',
    pause: 'vm',
    resume: 'vm',
    save: 'vm',
    reset: 'vm',
    delete: 'vm',
    rename: 'vm',
    set: 'vm',
  },
  storage: {
    addHardDiskDrive: 'vm',
    removeHardDiskDrive: 'vm',
    setHardDiskDrive: 'vm',
    addDvdDrive: 'vm',
    removeDvdDrive: 'vm',
    mountIso: 'vm',
    ejectIso: 'vm',
    addScsiController: 'vm',
    removeScsiController: 'vm',
  },
  snapshots: { create: 'vm', apply: 'vm', delete: 'vm' },
  // Of a program its name, not its arguments; of the keyboard nothing: both may carry secrets.
  guest: {
    exec: 'vm',
    copyTo: 'vm',
    copyFrom: 'vm',
    setTime: 'vm',
    setKeyValuePair: 'vm',
    deleteKeyValuePair: 'vm',
  },
  disks: {
    create: 'subject',
    resize: 'subject',
    compact: 'subject',
    convert: 'subject',
    merge: 'subject',
    setParent: 'subject',
    set: 'subject',
    setMetadata: 'subject',
    deleteMetadata: 'subject',
    enableChangeTracking: 'subject',
    disableChangeTracking: 'subject',
    backup: 'subject',
    fork: 'subject',
    mount: 'subject',
    dismount: 'subject',
    mirror: 'subject',
    breakMirror: 'subject',
    createSet: 'subject',
    takeSetSnapshot: 'subject',
    applySetSnapshot: 'subject',
    deleteSetSnapshot: 'subject',
    modifySet: 'subject',
    optimizeSet: 'subject',
  },
};

/** The services of a host, each call that changes something written down with who made it and how it ended. */
export class OperationRecorder {
  readonly #paths: HvPaths;
  readonly #log: EventLog;
  readonly #nameOf: (vmId: string) => Promise<string | null>;

  constructor(paths: HvPaths, nameOf: (vmId: string) => Promise<string | null>) {
    this.#paths = paths;
    this.#log = new EventLog(paths.eventsFile);
    this.#nameOf = nameOf;
  }

  /** The same service; its private parts see it as it is. */
  record<K extends keyof Services, S extends Services[K]>(name: K, service: S): S {
    const recorded: Readonly<Record<string, Subject | undefined>> = RECORDED[name] ?? {};
    return new Proxy(service, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        const call = (...args: unknown[]): unknown => Reflect.apply(value, target, args);
        const subject = typeof key === 'string' ? recorded[key] : undefined;
        if (subject === undefined) return call;
        return (...args: unknown[]) => this.#run(`${name}.${String(key)}`, subject, args, call);
      },
    });
  }

  async #run(
    operation: string,
    subject: Subject,
    args: readonly unknown[],
    call: (...args: unknown[]) => unknown,
  ): Promise<unknown> {
    if (args.some((arg) => isDryRun(arg))) return call(...args);
    const [first, second] = args;
    const vmId = subject === 'vm' && typeof first === 'string' ? first : null;
    const facts: OperationFacts = {
      operationId: randomUUID(),
      operation,
      subject: subject === 'vm' ? (typeof second === 'string' ? textOf(second) : null) : textOf(first),
      user: whoIsThis(),
      processId: process.pid,
      outcome: null,
      errorCode: null,
      durationMs: null,
    };
    const vmName = vmId === null ? null : await this.#nameOf(vmId);
    const began = performance.now();
    await this.#write({ kind: 'operation', phase: 'begin', time: now(), vmId, vmName, ...facts });
    const end = (vm: string | null, outcome: 'done' | 'failed' | 'aborted', errorCode: string | null): Promise<void> =>
      this.#write({
        kind: 'operation',
        phase: 'end',
        time: now(),
        vmId: vm,
        vmName,
        ...facts,
        outcome,
        errorCode,
        durationMs: Math.round(performance.now() - began),
      });
    try {
      const result = await call(...args);
      await end(vmId ?? createdId(operation, result), 'done', null);
      return result;
    } catch (error) {
      const code = isHvError(error) ? error.code : 'internal';
      await end(vmId, code === 'aborted' ? 'aborted' : 'failed', code);
      throw error;
    }
  }

  /** What was done is not undone because it cannot be written down. */
  async #write(event: HostEvent): Promise<void> {
    try {
      await ensureFolder(this.#paths.home);
      await this.#log.append(event);
    } catch (error) {
      if (!isHvError(error)) throw error;
    }
  }
}

function isDryRun(arg: unknown): boolean {
  return typeof arg === 'object' && arg !== null && 'dryRun' in arg && arg.dryRun === true;
}

/** A path or a name; of options, the name in them. */
function textOf(value: unknown): string | null {
  if (typeof value === 'string') return value.slice(0, 2000);
  if (typeof value === 'object' && value !== null && 'name' in value) return textOf(value.name);
  return null;
}

function createdId(operation: string, result: unknown): string | null {
  const isNew = operation === 'vms.create' && typeof result === 'object' && result !== null && 'id' in result;
  return isNew && typeof result.id === 'string' ? result.id : null;
}

function whoIsThis(): OperationFacts['user'] {
  const uid = process.getuid?.() ?? 0;
  const behalfOf = uid === 0 ? (process.env.SUDO_USER ?? null) : null;
  return { uid, name: userName(), behalfOf: behalfOf?.slice(0, 256) ?? null };
}

function userName(): string | null {
  try {
    return userInfo().username;
  } catch {
    return null; // a user that no directory knows
  }
}

function now(): string {
  return new Date().toISOString();
}
