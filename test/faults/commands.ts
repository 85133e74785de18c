import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll } from '../../src/async/index.ts';
import { isHvError } from '../../src/errors/index.ts';
import type { VmState } from '../../src/model/index.ts';
import { pidsOf } from '../conformance/qemu-home.ts';
import {
  bareMachine,
  command,
  dataFiles,
  expectConsistent,
  type FaultFixture,
  faultFixture,
  readDefinition,
  readDisk,
  settled,
  writeDisk,
} from './fixture.ts';

interface Interrupted {
  readonly title: string;
  readonly words: readonly string[];
  /** Brings the machine to where the command begins. */
  prepare(fixture: FaultFixture, id: string): Promise<void>;
  /** States that the machine may be in after the command died somewhere. */
  readonly legal: readonly VmState[];
  /** What the disk may hold at 1 and 2 MiB once the machine is off. */
  readonly disk: readonly (readonly string[])[];
  /** How many snapshots there may be. */
  readonly snapshots: readonly number[];
}

const off = async (fixture: FaultFixture, id: string): Promise<void> => {
  await fixture.host.vms.forceStop(id);
};
const running = async (fixture: FaultFixture, id: string): Promise<void> => {
  await off(fixture, id);
  await fixture.host.vms.start(id);
};
const forgetSnapshots = async ({ host }: FaultFixture, id: string): Promise<void> => {
  for (const { id: snapshotId } of await host.snapshots.list(id)) await host.snapshots.delete(id, snapshotId);
};
/** Off, `a` at 1 MiB in a snapshot of that moment, `b` at 2 MiB since. */
const offWithSnapshot = async (fixture: FaultFixture, id: string): Promise<void> => {
  await off(fixture, id);
  await forgetSnapshots(fixture, id);
  await writeDisk(fixture, id, 2, '\0');
  await fixture.host.snapshots.create(id, 'old');
  await writeDisk(fixture, id, 2, 'b');
};
const plain = async (fixture: FaultFixture, id: string): Promise<void> => {
  await off(fixture, id);
  await forgetSnapshots(fixture, id);
  await writeDisk(fixture, id, 2, 'b');
};

const NAME = 'victim';
const COMMANDS: readonly Interrupted[] = [
  {
    title: 'start',
    words: ['vm', 'start', NAME],
    prepare: plain,
    legal: ['Off', 'Running'],
    disk: [['a', 'b']],
    snapshots: [0],
  },
  {
    title: 'save',
    words: ['vm', 'save', NAME],
    prepare: async (fixture, id) => {
      await plain(fixture, id);
      await running(fixture, id);
    },
    legal: ['Running', 'Saved'],
    disk: [['a', 'b']],
    snapshots: [0],
  },
  {
    title: 'start from a saved state',
    words: ['vm', 'start', NAME],
    prepare: async (fixture, id) => {
      await plain(fixture, id);
      await running(fixture, id);
      await fixture.host.vms.save(id);
    },
    legal: ['Saved', 'Running', 'Off'],
    disk: [['a', 'b']],
    snapshots: [0],
  },
  {
    title: 'snapshot create of a running machine',
    words: ['snapshot', 'create', NAME, 'new'],
    prepare: async (fixture, id) => {
      await plain(fixture, id);
      await running(fixture, id);
    },
    legal: ['Running'],
    disk: [['a', 'b']],
    snapshots: [0, 1],
  },
  {
    title: 'snapshot create of a machine that is off',
    words: ['snapshot', 'create', NAME, 'new'],
    prepare: plain,
    legal: ['Off'],
    disk: [['a', 'b']],
    snapshots: [0, 1],
  },
  {
    title: 'snapshot apply',
    words: ['snapshot', 'apply', NAME, 'old'],
    prepare: offWithSnapshot,
    legal: ['Off'],
    disk: [
      ['a', 'b'],
      ['a', ''],
    ],
    snapshots: [1],
  },
  {
    title: 'snapshot delete',
    words: ['snapshot', 'delete', NAME, 'old'],
    prepare: offWithSnapshot,
    legal: ['Off'],
    disk: [['a', 'b']],
    snapshots: [0, 1],
  },
  {
    title: 'delete with disks',
    words: ['vm', 'delete', NAME, '--with-disks', '--yes'],
    prepare: offWithSnapshot,
    legal: ['Off'],
    disk: [['a', 'b']],
    snapshots: [0, 1],
  },
];

/** Files that belong to machines, wherever they lie in the fixture's folder, less what the home has anyway. */
async function machineFiles({ folder, home }: FaultFixture): Promise<string[]> {
  const below = async (path: string): Promise<string[]> => await readdir(path).catch(() => []);
  const disks = (await below(folder)).filter((name) => name.endsWith('.vhdx') || name.endsWith('.hv-new'));
  return [...disks, ...(await below(join(home, 'vms'))), ...(await below(join(home, 'operations')))];
}

/**
 * Kills the making and the deleting of a machine with a disk at so many moments. Afterwards both are there or neither is.
 */
export function describeKilledLives(moments: number): void {
  describe(`machines whose making or deletion is killed at ${moments} moments`, () => {
    let fixture: FaultFixture;
    beforeAll(async () => {
      fixture = await faultFixture();
    });
    afterAll(() => fixture.close());

    it.each(['create', 'delete'] as const)('%s', async (verb) => {
      const disk = join(fixture.folder, 'brief.vhdx');
      const create = ['vm', 'create', 'brief', '--disk', disk, '--new-disk', '64M'];
      const words = verb === 'create' ? create : ['vm', 'delete', 'brief', '--with-disks', '--yes'];
      const left = new Set<number>();
      let wholeMs = 0;
      for (let moment = -1; moment < moments; moment++) {
        if (verb === 'delete') expect((await command(fixture, create)).status).toBe(0);
        const began = performance.now();
        const killed = moment < 0 ? {} : { killAfterMs: wholeMs * (0.5 + (0.5 * (moment + 0.5)) / moments) };
        await command(fixture, words, killed);
        if (moment < 0) wholeMs = performance.now() - began;
        await (await fixture.reopen()).close();
        const files = await machineFiles(fixture);
        left.add(files.length);
        const [machine] = await fixture.host.vms.list();
        expect(files.sort()).toEqual(machine ? [machine.id, 'brief.vhdx'].sort() : []);
        if (machine) await fixture.host.vms.delete(machine.id, { withDisks: true });
      }
      expect(left.has(verb === 'create' ? 2 : 0)).toBe(true);
    });
  });
}

/**
 * Kills each command at `moments` moments of its run. Afterwards the machine is in one of the legal states, its disk is
 * one of the whole ones, no QEMU is left over, the next commands work, and what was half made is collected.
 */
export function describeKilledCommands(moments: number): void {
  describe(`commands that are killed at ${moments} moments`, () => {
    let fixture: FaultFixture;
    beforeAll(async () => {
      fixture = await faultFixture();
    });
    afterAll(() => fixture.close());

    const machine = async (): Promise<string> => {
      const found = (await fixture.host.vms.list()).find((vm) => vm.name === NAME);
      if (found) return found.id;
      await (await fixture.reopen()).close(); // finishes a deletion that died before it came to the disk
      const id = await bareMachine(fixture, NAME);
      await writeDisk(fixture, id, 1, 'a');
      return id;
    };

    it.each(COMMANDS)('$title', async ({ words, prepare, legal, disk, snapshots }) => {
      await prepare(fixture, await machine());
      const began = performance.now();
      const whole = await command(fixture, words);
      const wholeMs = performance.now() - began;
      expect({ status: whole.status, stderr: whole.stderr }).toEqual({ status: 0, stderr: '' });
      const startMs = wholeMs / 3; // before that the command is still loading
      for (let moment = 0; moment < moments; moment++) {
        let id = await machine();
        await prepare(fixture, id);
        await command(fixture, words, { killAfterMs: startMs + ((wholeMs - startMs) * (moment + 0.5)) / moments });
        id = await machine();
        const info = await settled(fixture, id);
        await expectConsistent(fixture);
        if (info.hardDiskDrives.length > 0 && (await readDefinition(fixture, id)).attached) {
          expect([...legal, 'Off']).toContain(info.state);
          expect(snapshots.includes(info.snapshotCount) || words[1] === 'delete').toBe(true);
        }
        await fixture.host.vms.forceStop(id);
        const found = await readDisk(fixture, id, 1, 2);
        if (words[1] === 'delete' && words[0] === 'vm')
          expect([
            ['a', 'b'],
            ['a', ''],
          ]).toContainEqual(found);
        else expect(disk).toContainEqual(found);
        // The next start works and sweeps up.
        await fixture.host.vms.start(id);
        const definition = await readDefinition(fixture, id);
        expect(definition.pending).toBeNull();
        const files = await dataFiles(fixture, id);
        expect(files.disks?.length).toBe(definition.snapshots.length);
        expect(files.saved?.length).toBe(0);
        await fixture.host.vms.forceStop(id);
        expect(pidsOf(fixture.home, 'qemu')).toEqual([]);
      }
    });
  });

  describe('commands that run into each other', () => {
    let fixture: FaultFixture;
    let id = '';
    beforeAll(async () => {
      fixture = await faultFixture();
      id = await bareMachine(fixture, 'busy');
    });
    afterAll(() => fixture.close());

    /** What became of two or more calls: `done` or the code of the failure; anything but an HvError fails the test. */
    const outcomes = async (calls: readonly (() => Promise<unknown>)[]): Promise<string[]> =>
      Promise.all(
        calls.map((call) =>
          call().then(
            () => 'done',
            (error: unknown) => {
              if (!isHvError(error)) throw error;
              return error.code;
            },
          ),
        ),
      );

    it('starts once when it is started twice at the same moment', async () => {
      const other = await fixture.reopen();
      expect(await outcomes([() => fixture.host.vms.start(id), () => other.vms.start(id)])).toEqual(['done', 'done']);
      expect((await settled(fixture, id)).state).toBe('Running');
      await expectConsistent(fixture);
      await other.close();
    });

    it('keeps one of save and snapshot waiting for the other', async () => {
      const { vms, snapshots } = fixture.host;
      expect(await outcomes([() => vms.save(id), () => snapshots.create(id, 'meanwhile')])).toEqual(['done', 'done']);
      expect(await settled(fixture, id)).toMatchObject({ state: 'Saved', snapshotCount: 1 });
      await vms.start(id);
      await expectConsistent(fixture);
    });

    it('ends Off when its power is cut while it starts', async () => {
      const { vms } = fixture.host;
      for (const waitMs of [0, 50, 150, 300]) {
        await vms.forceStop(id);
        const [started] = await outcomes([
          () => vms.start(id),
          () => new Promise((resolve) => setTimeout(resolve, waitMs)).then(() => vms.forceStop(id)),
        ]);
        // Either the power was cut after the start, or in it, or before it began.
        expect(['done', 'invalid-state', 'process-failed', 'aborted', 'io']).toContain(started);
        await expectConsistent(fixture);
      }
      await vms.forceStop(id);
      expect((await settled(fixture, id)).state).toBe('Off');
    });

    it('starts again at once after its power was cut, ten times', async () => {
      const { vms } = fixture.host;
      for (let round = 0; round < 10; round++) {
        await vms.start(id);
        expect((await vms.info(id)).state).toBe('Running');
        await vms.forceStop(id);
        expect((await vms.info(id)).state).toBe('Off');
      }
      await expectConsistent(fixture);
    });

    it('takes many orders at once and is in one state after them', async () => {
      const { vms, snapshots } = fixture.host;
      await vms.start(id);
      const results = await outcomes([
        () => vms.pause(id),
        () => vms.resume(id),
        () => snapshots.create(id, 'in the crowd'),
        () => vms.reset(id),
        () => vms.screenshot(id),
        () => vms.info(id),
        () => vms.save(id),
        () => vms.start(id),
      ]);
      for (const result of results) expect(['done', 'invalid-state']).toContain(result);
      await poll(async () => ((await vms.info(id)).state === 'Stopping' ? undefined : true), {
        timeoutMs: 5000,
        doing: 'x',
      });
      await expectConsistent(fixture);
      await vms.forceStop(id);
      await vms.delete(id, { withDisks: true });
      expect(await vms.list()).toEqual([]);
    });
  });
}
