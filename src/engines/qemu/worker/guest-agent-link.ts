import { Mutex } from '../../../async/index.ts';
import { HvError, isHvError } from '../../../errors/index.ts';
import { AGENT_HINT, GuestAgent, type GuestAgentCall, GuestAgentClient } from '../../../protocols/qga/index.ts';
import type { JsonObject } from '../../../protocols/qmp/index.ts';

const PING_TIMEOUT_MS = 3000;
const CALL_TIMEOUT_MS = 5000;

export interface AdapterTraffic {
  readonly macAddress: string;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly sentPackets: number;
}

/**
 * The guest's agent, connected when it is first needed and again after its channel ended. Each command takes its own
 * turn, so that no long work of one keeps the others waiting. What it says is the guest's word.
 */
export class GuestAgentLink extends GuestAgent {
  readonly #socketPath: string;
  /** Whether something in the guest holds the port open: without that, nobody is asked and nobody waits. */
  isOpen = false;
  #client: GuestAgentClient | undefined;
  /** The port carries one conversation: a second connection would wait for the first one's end. */
  readonly #connecting = new Mutex();

  constructor(socketPath: string) {
    super();
    this.#socketPath = socketPath;
  }

  /** @throws HvError `invalid-state` while nothing in the guest has the port open, and as `GuestAgentClient.call` */
  override async call(command: string, args: JsonObject = {}, options: GuestAgentCall = {}): Promise<unknown> {
    if (!this.isOpen) {
      throw new HvError('invalid-state', 'no guest agent runs in the guest', {
        detail: { command },
        hint: AGENT_HINT,
      });
    }
    const client = await this.#connect();
    try {
      return await client.call(command, args, options);
    } catch (error) {
      if (isHvError(error, 'io')) await this.#drop(client);
      throw error;
    }
  }

  async isAlive(signal: AbortSignal): Promise<boolean> {
    return (await this.#ifItAnswers(this.ping({ timeoutMs: PING_TIMEOUT_MS, signal }).then(() => true))) ?? false;
  }

  /** The addresses of each adapter, without loopback and link-local ones; empty while no agent answers. */
  async ipAddresses(signal: AbortSignal): Promise<{ macAddress: string; addresses: string[] }[]> {
    const interfaces = await this.#ifItAnswers(this.networkInterfaces({ timeoutMs: CALL_TIMEOUT_MS, signal }));
    return (interfaces ?? []).flatMap((entry) => {
      const addresses = entry.addresses.map((address) => address.address).filter(isRoutable);
      return entry.macAddress === undefined || addresses.length === 0
        ? []
        : [{ macAddress: entry.macAddress, addresses }];
    });
  }

  /** What each adapter carried, as the guest counts; empty while no agent answers. */
  async networkTraffic(signal: AbortSignal): Promise<AdapterTraffic[]> {
    const interfaces = await this.#ifItAnswers(this.networkInterfaces({ timeoutMs: CALL_TIMEOUT_MS, signal }));
    return (interfaces ?? []).flatMap(({ macAddress, statistics }) =>
      macAddress === undefined || statistics === undefined ? [] : [{ macAddress, ...statistics }],
    );
  }

  /** Also ends a question that is being asked. */
  async close(): Promise<void> {
    if (this.#client) await this.#drop(this.#client);
  }

  #connect(): Promise<GuestAgentClient> {
    return this.#connecting.run(async () => {
      this.#client ??= await GuestAgentClient.connect(this.#socketPath);
      return this.#client;
    });
  }

  async #drop(client: GuestAgentClient): Promise<void> {
    if (this.#client === client) this.#client = undefined;
    await client.close();
  }

  /** Undefined when nobody answers. */
  async #ifItAnswers<T>(answer: Promise<T>): Promise<T | undefined> {
    try {
      return await answer;
    } catch (error) {
      if (!isHvError(error)) throw error;
      return undefined;
    }
  }
}

function isRoutable(address: string): boolean {
  return !/^127\.|^169\.254\.|^::1$|^fe[89ab]/i.test(address);
}
