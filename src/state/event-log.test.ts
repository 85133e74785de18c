import { randomUUID } from 'node:crypto';
import { appendFile, mkdtemp, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HvError } from '../errors/index.ts';
import type { HostEvent } from '../model/index.ts';
import { EventLog, EventReader } from './event-log.ts';

const VM = randomUUID();
let folder: string;
let path: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-events-'));
  path = join(folder, 'events.ndjson');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const stateEvent = (number: number, vmId: string = VM): HostEvent => ({
  time: new Date(number).toISOString(),
  vmId,
  vmName: `machine ${number}`,
  kind: 'state',
  state: 'Running',
  reason: null,
});
const names = (events: readonly HostEvent[]): (string | null)[] => events.map((event) => event.vmName);

describe('EventLog and EventReader', () => {
  it('give back what was added, once, in order; readable by its owner alone', async () => {
    const log = new EventLog(path);
    const reader = new EventReader(log);
    expect(await reader.next()).toEqual([]);
    await log.append(stateEvent(1));
    await log.append(stateEvent(2));
    expect(await reader.next()).toEqual([stateEvent(1), stateEvent(2)]);
    expect(await reader.next()).toEqual([]);
    await log.append(stateEvent(3));
    expect(await reader.next()).toEqual([stateEvent(3)]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it('lose nothing when several writers add at once, and keep two files of bounded size', async () => {
    const writers = Array.from({ length: 8 }, () => new EventLog(path, { rotateBytes: 2000 }));
    const reader = new EventReader(new EventLog(path));
    const seen: HostEvent[] = [];
    for (let round = 0; round < 20; round++) {
      await Promise.all(writers.map((log, index) => log.append(stateEvent(1000 * round + index))));
      seen.push(...(await reader.next()));
    }
    expect(new Set(names(seen)).size).toBe(160);
    expect(seen.length).toBe(160);
    const files = (await readdir(folder)).filter((name) => !name.endsWith('.lock'));
    expect(files.length).toBeLessThanOrEqual(2); // the newer one comes with the next event
    for (const name of files) expect((await stat(join(folder, name))).size).toBeLessThan(4000);
  });

  it('reads the older file first', async () => {
    const log = new EventLog(path, { rotateBytes: 300 });
    for (let number = 0; number < 3; number++) await log.append(stateEvent(number));
    expect(names(await new EventReader(log).next())).toEqual(['machine 0', 'machine 1', 'machine 2']);
  });

  it('passes over what is no event: half a line, other JSON, a line without end', async () => {
    const log = new EventLog(path);
    const reader = new EventReader(log);
    const whole = JSON.stringify(stateEvent(1));
    await writeFile(
      path,
      `${whole.slice(0, 40)}\n{"kind":"state"}\n[]\n7\n${'x'.repeat(600_000)}\n${whole}\n${whole.slice(0, 30)}`,
    );
    expect(names(await reader.next())).toEqual(['machine 1']);
    await appendFile(path, `${whole.slice(30)}\n`);
    expect(names(await reader.next())).toEqual(['machine 1']);
  });

  it("lets a machine's own process speak of that machine alone, and of nobody's commands", async () => {
    const log = new EventLog(path);
    await log.append(stateEvent(1));
    await log.append(stateEvent(2, randomUUID()));
    await log.append({
      ...stateEvent(3),
      kind: 'operation',
      phase: 'end',
      operationId: randomUUID(),
      operation: 'vms.delete',
      subject: null,
      user: { uid: 0, name: 'root', behalfOf: null },
      processId: 1,
      outcome: 'done',
      errorCode: null,
      durationMs: 1,
    } as HostEvent);
    expect(names(await new EventReader(log, { vmId: VM }).next())).toEqual(['machine 1']);
    expect(await new EventReader(log).next()).toHaveLength(3);
  });

  it('follows no link that a machine put there', async () => {
    await new EventLog(join(folder, 'other')).append(stateEvent(1));
    await symlink(join(folder, 'other'), path);
    expect(await new EventReader(new EventLog(path)).next()).toEqual([]);
    await expect(new EventLog(path).append(stateEvent(2))).rejects.toBeInstanceOf(HvError);
  });
});
