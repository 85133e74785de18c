import { createServer, type Server, type Socket } from 'node:net';
import { GuestAgentClient, type GuestAgentOptions } from '../../src/protocols/qga/index.ts';
import { QemuProcess } from './qemu-process.ts';

export interface AgentRequest {
  readonly execute: string;
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** What a peer sends for one request; undefined is silence. */
export type AgentBehaviour = (request: AgentRequest, peer: Socket) => string | Buffer | undefined;

/** What an honest agent answers to a synchronisation. */
export function syncAnswer(request: AgentRequest): Buffer {
  return Buffer.concat([Buffer.from([0xff]), Buffer.from(`${JSON.stringify({ return: request.arguments.id })}\n`)]);
}

/** The guest's end of the agent's port, on a real unix socket, behaving as badly as its behaviour says. */
export class FakeAgent implements AsyncDisposable {
  readonly requests: AgentRequest[] = [];
  readonly client: GuestAgentClient;
  readonly #server: Server;
  readonly #sockets: readonly Socket[];
  readonly #folder: AsyncDisposable;

  private constructor(
    client: GuestAgentClient,
    server: Server,
    sockets: readonly Socket[],
    folder: AsyncDisposable,
    requests: AgentRequest[],
  ) {
    this.client = client;
    this.#server = server;
    this.#sockets = sockets;
    this.#folder = folder;
    this.requests = requests;
  }

  static async start(
    behaviour: AgentBehaviour,
    options: GuestAgentOptions & { readonly onConnect?: (peer: Socket) => void } = {},
  ): Promise<FakeAgent> {
    const folder = await QemuProcess.folder();
    const requests: AgentRequest[] = [];
    const sockets: Socket[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on('error', () => {}); // a client that leaves in the middle is part of the tests
      options.onConnect?.(socket);
      let text = '';
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString('latin1').replaceAll('\xff', '');
        const lines = text.split('\n');
        text = lines.pop() ?? '';
        for (const line of lines) {
          const request = JSON.parse(Buffer.from(line, 'latin1').toString('utf8')) as AgentRequest; // hv's own words
          requests.push(request);
          const answer = behaviour(request, socket);
          if (answer !== undefined) socket.write(answer);
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(folder.path('a'), () => resolve()));
    const client = await GuestAgentClient.connect(folder.path('a'), options);
    return new FakeAgent(client, server, sockets, folder, requests);
  }

  /** The commands beside synchronisations that came. */
  get commands(): readonly string[] {
    return this.requests.map((request) => request.execute).filter((name) => name !== 'guest-sync-delimited');
  }

  hangUp(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.close();
    this.hangUp();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await this.#folder[Symbol.asyncDispose]();
  }
}
