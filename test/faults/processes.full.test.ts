import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { poll, sleep } from '../../src/async/index.ts';
import { boot, linuxMachine } from '../conformance/guest/machine.ts';
import { pidsOf } from '../conformance/qemu-home.ts';
import { type FaultFixture, faultFixture, killAll, killAndWait, settled } from './fixture.ts';
import { expectWritten, Writer } from './writer.ts';

const ROUNDS = 40;

describe(`workers and keepers killed ${ROUNDS} times under a guest that writes`, () => {
  let fixture: FaultFixture;
  beforeAll(async () => {
    fixture = await faultFixture();
  });
  afterAll(() => fixture.close());

  it.each([1, 2] as const)('loses no acknowledged write in Generation %i', async (generation) => {
    const id = await linuxMachine(fixture, `writer ${generation}`, { generation });
    await boot(fixture, id);
    await using writer = await Writer.start(fixture, id, 1);
    for (let round = 0; round < ROUNDS; round++) {
      killAll(pidsOf(fixture.home, 'worker'));
      if (round % 4 === 3) killAll(pidsOf(fixture.home, 'keeper'));
      await sleep((round * 37) % 700); // the next one often dies while it takes over
      await (await fixture.reopen()).close();
      if (round % 5 === 4) await writer.goesOn(30_000);
    }
    await writer.goesOn(30_000);
    const { first, last } = await writer.stop();
    expect((await settled(fixture, id)).state).toBe('Running');
    await killAndWait(fixture, 'qemu');
    expect((await settled(fixture, id)).state).toBe('Off');
    await poll(() => (pidsOf(fixture.home, 'worker').length === 0 ? true : undefined), {
      timeoutMs: 10_000,
      doing: 'waiting for the worker to leave',
    });
    await expectWritten(fixture, id, writer.startOffset, first, last);
  });
});
