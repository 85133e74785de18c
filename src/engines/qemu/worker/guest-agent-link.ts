import { Mutex } from '../../../async/index.ts';
import { isHvError } from '../../../errors/index.ts';
import { GuestAgentClient } from '../../../protocols/qga/index.ts';

const PING_TIMEOUT_MS = 3000;
const CALL_TIMEOUT_MS = 5000;

export interface AdapterTraffic {
  readonly macAddress: string;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly sentPackets: number;
}

/** The guest's agent, connected when it is first needed and again after it failed. What it says is the guest's word. */
export class GuestAgentLink {
  readonly #socketPath: string;
  /** Whether something in the guest holds the port open: without that, nobody is asked and nobody waits. */
  isOpen = false;
  #client: GuestAgentClient | undefined;
  /** The port carries one conversation: a second connection would wait for the first one's end. */
  readonly #turn = new Mutex();

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async isAlive(signal: AbortSignal): Promise<boolean> {
    return (await this.#ask((agent) => agent.ping({ timeoutMs: PING_TIMEOUT_MS, signal }).then(() => true))) ?? false;
  }

  /** The addresses of each adapter, without loopback and link-local ones; empty while no agent answers. */
  async ipAddresses(signal: AbortSignal): Promise<{ macAddress: string; addresses: string[] }[]> {
    const interfaces = await this.#ask((agent) => agent.networkInterfaces({ timeoutMs: CALL_TIMEOUT_MS, signal }));
    return (interfaces ?? []).flatMap((entry) => {
      const addresses = entry.addresses.map((address) => address.address).filter(isRoutable);
      return entry.macAddress === undefined || addresses.length === 0
        ? []
        : [{ macAddress: entry.macAddress, addresses }];
    });
  }

  /** What each adapter carried, as the guest counts; empty while no agent answers. */
  async networkTraffic(signal: AbortSignal): Promise<AdapterTraffic[]> {
    const interfaces = await this.#ask((agent) => agent.networkInterfaces({ timeoutMs: CALL_TIMEOUT_MS, signal }));
    return (interfaces ?? []).flatMap(({ macAddress, statistics }) =>
      macAddress === undefined || statistics === undefined ? [] : [{ macAddress, ...statistics }],
    );
  }

  /** Also ends a question that is being asked. */
  async close(): Promise<void> {
    await this.#client?.close();
    this.#client = undefined;
  }

  /** Undefined when nobody answers. */
  async #ask<T>(question: (agent: GuestAgentClient) => Promise<T>): Promise<T | undefined> {
    return this.#turn.run(async () => {
      if (!this.isOpen) return undefined;
      try {
        this.#client ??= await GuestAgentClient.connect(this.#socketPath);
        return await question(this.#client);
      } catch (error) {
        if (!isHvError(error)) throw error;
        await this.close();
        return undefined;
      }
    });
  }
}

function isRoutable(address: string): boolean {
  return !/^127\.|^169\.254\.|^::1$|^fe[89ab]/i.test(address);
}
