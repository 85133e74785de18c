import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll, sleep } from '../../src/async/index.ts';
import { vmPaths } from '../../src/state/index.ts';
import { pidsOf } from '../conformance/qemu-home.ts';
import { bareMachine, expectConsistent, type FaultFixture, faultFixture } from './fixture.ts';

/** What somebody may write to a control socket who does not wish well. */
const JUNK: readonly (readonly [string, () => Buffer])[] = [
  ['nothing', () => Buffer.alloc(0)],
  ['random bytes', () => randomBytes(100_000)],
  ['a line without end', () => Buffer.alloc(8 * 2 ** 20, 'x')],
  ['a long string in JSON', () => Buffer.from(`{"id":1,"op":"${'y'.repeat(3 * 2 ** 20)}"}\n`)],
  ['many empty lines', () => Buffer.alloc(500_000, '\n')],
  ['JSON that is no order', () => Buffer.from('[]\n{}\nnull\n"x"\n1e999\n{"id":-1}\n{"id":1,"op":"__proto__"}\n')],
  ['deep JSON', () => Buffer.from(`${'['.repeat(200_000)}\n`)],
  ['orders with wrong fields', () => Buffer.from('{"id":1,"op":"save","file":"../../etc/passwd","more":1}\n')],
  ['a file outside of the data folder', () => Buffer.from('{"id":1,"op":"save","file":"/etc/hv-test"}\n')],
  ['half an order', () => Buffer.from('{"id":1,"op":"he')],
];

describe('hostile peers of the control sockets', () => {
  let fixture: FaultFixture;
  let id = '';
  beforeAll(async () => {
    fixture = await faultFixture();
    id = await bareMachine(fixture, 'target');
    await fixture.host.vms.start(id);
  });
  afterAll(() => fixture.close());

  /** Writes and reads what comes until the peer closes or says nothing for a while. */
  const throwAt = async (socketPath: string, bytes: Buffer): Promise<void> => {
    const socket = connect(socketPath);
    socket.on('error', () => {}); // the other side may hang up at any time
    socket.resume();
    await new Promise<void>((resolve) => socket.once('connect', resolve));
    await new Promise<void>((resolve) => {
      socket.write(bytes, () => resolve());
      socket.once('close', () => resolve());
    });
    await sleep(30);
    socket.destroy();
  };

  it.each(JUNK)('outlives %s', async (_what, bytes) => {
    const before = [...pidsOf(fixture.home, 'keeper'), ...pidsOf(fixture.home, 'worker')];
    for (const path of [fixture.paths.keeperSocket, `${vmPaths(fixture.paths, id).run}/control.sock`]) {
      await throwAt(path, bytes());
    }
    expect((await fixture.host.vms.info(id)).state).toBe('Running');
    await fixture.host.vms.pause(id);
    await fixture.host.vms.resume(id);
    expect([...pidsOf(fixture.home, 'keeper'), ...pidsOf(fixture.home, 'worker')]).toEqual(before);
  });

  it('answers others while many connections say nothing', async () => {
    const path = `${vmPaths(fixture.paths, id).run}/control.sock`;
    const idle = Array.from({ length: 200 }, () => connect(path).on('error', () => {}));
    await Promise.all(idle.map((socket) => new Promise<void>((resolve) => socket.once('connect', () => resolve()))));
    await fixture.host.vms.pause(id);
    await fixture.host.vms.resume(id);
    for (const socket of idle) socket.destroy();
    expect((await fixture.host.vms.info(id)).state).toBe('Running');
  });

  it('lets the keeper start machines after all of that', async () => {
    const other = await bareMachine(fixture, 'later');
    await fixture.host.vms.start(other);
    await fixture.host.vms.forceStop(other);
    await fixture.host.vms.forceStop(id);
    await poll(() => (pidsOf(fixture.home, 'worker').length === 0 ? true : undefined), {
      timeoutMs: 10_000,
      doing: 'leaving',
    });
    await expectConsistent(fixture);
  });
});
