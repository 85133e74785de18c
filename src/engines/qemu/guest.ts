import { isHvError } from '../../errors/index.ts';
import type { GuestService } from '../../host/index.ts';
import type { EngineContext } from './context.ts';
import type { ControlClient } from './control/client.ts';
import { observe } from './observe.ts';
import { order } from './worker/client.ts';
import { heartbeatSchema, ipAddressesSchema } from './worker/wire.ts';

/** What the guest's agent says, through the machine's worker. A machine that does not run says nothing. */
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
