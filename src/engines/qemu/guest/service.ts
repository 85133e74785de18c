import type { LongOptions } from '../../../async/index.ts';
import { HvError, isHvError } from '../../../errors/index.ts';
import type { GuestService } from '../../../host/index.ts';
import {
  type GuestCopyOptions,
  type GuestCopyResult,
  type GuestExecOptions,
  type GuestExecResult,
  type GuestInfo,
  type KeyValuePair,
  MAX_PAIRS,
  validKey,
  validPair,
} from '../../../model/index.ts';
import type { VmDefinition } from '../../../state/index.ts';
import type { EngineContext } from '../context.ts';
import type { ControlClient } from '../control/client.ts';
import { observe, requireRunning } from '../observe.ts';
import { order } from '../worker/client.ts';
import { heartbeatSchema, ipAddressesSchema } from '../worker/wire.ts';
import { copyIntoGuest, copyOutOfGuest } from './copy.ts';
import { runInGuest } from './exec.ts';
import { guestInfo } from './info.ts';
import { takePairs } from './key-value-pairs.ts';
import { RemoteAgent } from './remote-agent.ts';
import { setGuestTime } from './time.ts';

/** What the guest's agent says and does, through the machine's worker. */
export class QemuGuestService implements GuestService {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  async heartbeat(vmId: string): Promise<boolean> {
    const answer = await this.#ask(vmId, (worker) => worker.ask(order({ op: 'heartbeat' }), heartbeatSchema));
    return answer?.alive ?? false;
  }

  async ipAddresses(vmId: string): Promise<{ readonly macAddress: string; readonly addresses: readonly string[] }[]> {
    const answer = await this.#ask(vmId, (worker) => worker.ask(order({ op: 'ip-addresses' }), ipAddressesSchema));
    return answer?.adapters ?? [];
  }

  info(vmId: string, options: Pick<LongOptions, 'signal'> = {}): Promise<GuestInfo> {
    return this.#withAgent(vmId, (agent) => guestInfo(agent, options.signal));
  }

  exec(
    vmId: string,
    program: string,
    args: readonly string[],
    options: GuestExecOptions & Pick<LongOptions, 'signal'> = {},
  ): Promise<GuestExecResult> {
    return this.#withAgent(vmId, (agent, { specification }) =>
      runInGuest(agent, specification.guest, program, args, options),
    );
  }

  copyTo(
    vmId: string,
    sourcePath: string,
    targetPath: string,
    options: GuestCopyOptions & LongOptions = {},
  ): Promise<GuestCopyResult> {
    return this.#withAgent(vmId, (agent, { specification }) =>
      copyIntoGuest(agent, specification.guest, sourcePath, targetPath, options),
    );
  }

  copyFrom(
    vmId: string,
    sourcePath: string,
    targetPath: string,
    options: GuestCopyOptions & LongOptions = {},
  ): Promise<GuestCopyResult> {
    return this.#withAgent(vmId, (agent, { specification }) =>
      copyOutOfGuest(agent, specification.guest, sourcePath, targetPath, options),
    );
  }

  setTime(vmId: string): Promise<{ readonly offsetMs: number }> {
    return this.#withAgent(vmId, async (agent) => ({ offsetMs: await setGuestTime(agent, true) }));
  }

  /** Has the guest's own shutdown program end it. */
  shutdown(vmId: string): Promise<void> {
    return this.#withAgent(vmId, (agent) => agent.shutdown());
  }

  async keyValuePairs(vmId: string): Promise<readonly KeyValuePair[]> {
    const definition = await this.#context.store.load(vmId);
    const ours = Object.entries(definition.keyValuePairs).map(
      ([key, value]): KeyValuePair => ({ source: 'host', key, value }),
    );
    const { state } = await observe(this.#context, definition);
    if (state !== 'Running' || !(await this.heartbeat(vmId))) return ours;
    const theirs = await this.#withAgent(vmId, takePairs);
    return [...ours, ...theirs.map(([key, value]): KeyValuePair => ({ source: 'guest', key, value }))];
  }

  async setKeyValuePair(vmId: string, key: string, value: string): Promise<void> {
    const pair = validPair(key, value);
    await this.#changePairs(vmId, (pairs) => {
      const changed = { ...pairs, [pair.key]: pair.value };
      if (Object.keys(changed).length <= MAX_PAIRS) return changed;
      throw new HvError('invalid-argument', `a machine has at most ${MAX_PAIRS} key-value pairs`, {
        detail: { maxPairs: MAX_PAIRS },
        hint: 'Delete one first: hv guest kvp delete.',
      });
    });
  }

  async deleteKeyValuePair(vmId: string, key: string): Promise<void> {
    validKey(key);
    await this.#changePairs(vmId, (pairs) => {
      if (!Object.hasOwn(pairs, key)) {
        throw new HvError('not-found', `the host has set no key ${key}`, {
          detail: { key },
          hint: 'What the guest says, only the guest takes back.',
        });
      }
      const { [key]: _deleted, ...rest } = pairs;
      return rest;
    });
  }

  /** The definition first: a worker that dies before the guest has them gives them anew. */
  async #changePairs(
    vmId: string,
    change: (pairs: VmDefinition['keyValuePairs']) => VmDefinition['keyValuePairs'],
  ): Promise<void> {
    await this.#context.withLock(vmId, undefined, async (definition) => {
      const pairs = change(definition.keyValuePairs);
      await this.#context.store.save({ ...definition, keyValuePairs: pairs });
      await this.#ask(vmId, async (worker) => {
        try {
          await worker.call(order({ op: 'key-value-pairs', pairs }));
        } catch (error) {
          // A guest that is paused, or whose agent is not there or not able, does not keep them from being set.
          if (!isHvError(error, 'invalid-state') && !isHvError(error, 'unsupported')) throw error;
        }
      });
    });
  }

  /** @throws HvError `invalid-state` unless the machine runs */
  async #withAgent<T>(vmId: string, work: (agent: RemoteAgent, definition: VmDefinition) => Promise<T>): Promise<T> {
    const definition = await this.#context.store.load(vmId);
    await requireRunning(this.#context, definition, 'its guest');
    await using worker = await this.#context.worker(vmId);
    return await work(new RemoteAgent(worker), definition);
  }

  /** Undefined: the machine is off. */
  async #ask<T>(vmId: string, question: (worker: ControlClient) => Promise<T>): Promise<T | undefined> {
    const definition = await this.#context.store.load(vmId);
    if (!(await observe(this.#context, definition)).runtime) return undefined;
    try {
      await using worker = await this.#context.worker(vmId);
      return await question(worker);
    } catch (error) {
      // The machine may go off while it is asked; then there is no answer. While it runs, a failure is one.
      if (isHvError(error) && !(await observe(this.#context, definition)).runtime) return undefined;
      throw error;
    }
  }
}
