import { withDeadline } from '../../../async/index.ts';
import { HvError } from '../../../errors/index.ts';
import { GuestAgent, type GuestAgentCall } from '../../../protocols/qga/index.ts';
import type { JsonObject } from '../../../protocols/qmp/index.ts';
import type { ControlClient } from '../control/client.ts';
import { order } from '../worker/client.ts';
import { AGENT_COMMANDS, agentAnswerSchema } from '../worker/wire.ts';

const DEFAULT_TIMEOUT_MS = 10_000;
const DEFAULT_MAX_REPLY_BYTES = 2 ** 20;

/**
 * A guest's agent through its machine's worker, one order a command: the worker does nothing long, and nothing of this
 * side's work is left in it when this side dies.
 */
export class RemoteAgent extends GuestAgent {
  readonly #worker: ControlClient;

  constructor(worker: ControlClient) {
    super();
    this.#worker = worker;
  }

  override async call(name: string, args: JsonObject = {}, options: GuestAgentCall = {}): Promise<unknown> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS, maxReplyBytes = DEFAULT_MAX_REPLY_BYTES, silenceMs, signal } = options;
    const command = AGENT_COMMANDS.find((known) => known === name);
    if (!command) throw new HvError('internal', `${name} is not among the agent's commands that the worker takes`);
    const request = order({
      op: 'agent',
      command,
      arguments: args as Record<string, never>, // the worker checks that it is JSON
      timeoutMs,
      maxReplyBytes,
      ...(silenceMs === undefined ? {} : { silenceMs }),
    });
    // The signal stops the waiting only: given to the connection it would end it, and what is to be undone needs it.
    const asked = this.#worker.ask(request, agentAnswerSchema);
    asked.catch(() => {}); // an abort leaves it to itself
    const { answer } = await withDeadline(asked, timeoutMs + WORKER_GRACE_MS, name, { signal });
    return answer;
  }
}

/** The worker says `timeout` itself, unless it does not answer at all. */
const WORKER_GRACE_MS = 5000;
