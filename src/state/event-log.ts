import { constants } from 'node:fs';
import { open, rename, stat } from 'node:fs/promises';
import { z } from 'zod';
import { fromSystemError, isSystemError } from '../errors/index.ts';
import { type HostEvent, VM_STATES } from '../model/index.ts';
import { acquireLock } from '../system/index.ts';
import { guid } from './values.ts';

/** When a file reaches this size it becomes the older of two, and what was older goes. */
const ROTATE_BYTES = 4 * 2 ** 20;
const MAX_LINE_BYTES = 8 * 1024;
const CHUNK_BYTES = 256 * 1024;
const MAX_TEXT = 2000;

const happening = {
  time: z.iso.datetime(),
  vmId: guid.nullable(),
  vmName: z.string().max(100).nullable(),
};

const event = z.discriminatedUnion('kind', [
  z.object({
    ...happening,
    kind: z.literal('state'),
    state: z.enum(VM_STATES),
    reason: z.string().max(MAX_TEXT).nullable(),
  }),
  z.object({
    ...happening,
    kind: z.literal('disk-error'),
    driveId: guid.nullable(),
    operation: z.enum(['read', 'write']),
    noSpace: z.boolean(),
  }),
  z.object({ ...happening, kind: z.literal('guest-panic') }),
  z.object({ ...happening, kind: z.literal('guest-reset') }),
  z.object({ ...happening, kind: z.literal('guest-agent'), connected: z.boolean() }),
  z.object({
    ...happening,
    kind: z.literal('operation'),
    phase: z.enum(['begin', 'end']),
    operationId: guid,
    operation: z.string().max(100),
    subject: z.string().max(MAX_TEXT).nullable(),
    user: z.object({
      uid: z.int().min(0),
      name: z.string().max(256).nullable(),
      behalfOf: z.string().max(256).nullable(),
    }),
    processId: z.int().min(0),
    outcome: z.enum(['done', 'failed', 'aborted']).nullable(),
    errorCode: z.string().max(100).nullable(),
    durationMs: z.number().min(0).nullable(),
  }),
]);

/**
 * What happened, one JSON object a line, in the order in which it was written down. Several processes add to one file;
 * each line goes in with one write at its end.
 */
export class EventLog {
  readonly path: string;
  readonly #rotateBytes: number;

  constructor(path: string, options: { readonly rotateBytes?: number } = {}) {
    this.path = path;
    this.#rotateBytes = options.rotateBytes ?? ROTATE_BYTES;
  }

  /** The file before the last rotation. */
  get olderPath(): string {
    return `${this.path}.1`;
  }

  /** @throws HvError `no-space`, `permission-denied`, `io` */
  async append(happened: HostEvent): Promise<void> {
    const line = `${JSON.stringify(happened)}\n`;
    try {
      const flags = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NOFOLLOW;
      await using file = await open(this.path, flags, 0o600);
      await file.appendFile(line);
      if ((await file.stat()).size < this.#rotateBytes) return;
    } catch (error) {
      throw fromSystemError(error, `cannot add to ${this.path}`, { path: this.path });
    }
    await this.#rotate();
  }

  async #rotate(): Promise<void> {
    await using _lock = await acquireLock(`${this.path}.lock`, { timeoutMs: 5000 });
    try {
      if ((await stat(this.path)).size >= this.#rotateBytes) await rename(this.path, this.olderPath);
    } catch (error) {
      if (!isSystemError(error, 'ENOENT'))
        throw fromSystemError(error, `cannot rotate ${this.path}`, { path: this.path });
    }
  }
}

/**
 * Reads the lines that were added to a log since the last call; at first, all. The file may be written by an
 * unprivileged process: no link is followed, lines are bounded, and what is no event is passed over.
 */
export class EventReader {
  readonly #log: EventLog;
  /** Where the writer is a machine's own process: it speaks of that machine alone. */
  readonly #vmId: string | null;
  /** How far each file was read; a rotation gives them other names. */
  #offsets = new Map<string, number>();

  constructor(log: EventLog, options: { readonly vmId?: string } = {}) {
    this.#log = log;
    this.#vmId = options.vmId ?? null;
  }

  /** @throws HvError `permission-denied`, `io` */
  async next(): Promise<HostEvent[]> {
    const events: HostEvent[] = [];
    const offsets = new Map<string, number>();
    // A writer that opened the file before its rotation adds to it afterwards: the older one is looked at again.
    for (const path of [this.#log.olderPath, this.#log.path]) {
      const read = await this.#read(path, events);
      if (read) offsets.set(read.identity, read.offset);
    }
    this.#offsets = offsets;
    return events;
  }

  /** Adds a file's whole lines that were not read yet, and says up to where they went. */
  async #read(
    path: string,
    events: HostEvent[],
  ): Promise<{ readonly identity: string; readonly offset: number } | undefined> {
    try {
      await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      const found = await file.stat({ bigint: true });
      if (!found.isFile()) return undefined;
      const identity = `${found.ino}:${found.birthtimeNs}`;
      let offset = this.#offsets.get(identity) ?? 0;
      const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
      for (;;) {
        const { bytesRead } = await file.read(chunk, 0, chunk.length, offset);
        const end = chunk.subarray(0, bytesRead).lastIndexOf(0x0a);
        if (end < 0) {
          if (bytesRead < chunk.length) break;
          offset += bytesRead; // no line is that long
          continue;
        }
        for (const line of chunk.toString('utf8', 0, end).split('\n')) this.#take(line, events);
        offset += end + 1;
      }
      return { identity, offset };
    } catch (error) {
      if (isSystemError(error, 'ENOENT', 'ELOOP', 'ENOTDIR', 'ENXIO')) return undefined;
      throw fromSystemError(error, `cannot read ${path}`, { path });
    }
  }

  #take(line: string, events: HostEvent[]): void {
    if (line.length === 0 || line.length > MAX_LINE_BYTES) return;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch {
      return; // cut off by a full disk
    }
    const parsed = event.safeParse(value);
    if (!parsed.success) return;
    if (this.#vmId !== null && (parsed.data.vmId !== this.#vmId || parsed.data.kind === 'operation')) return;
    events.push(parsed.data);
  }
}
