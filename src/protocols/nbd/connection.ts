import { deferred } from '../../async/index.ts';
import type { Export, ExportClient } from './export.ts';
import { type ExportDirectory, Handshake, type Negotiated } from './handshake.ts';
import { Transmission } from './transmission.ts';
import type { Transport, TransportListener } from './transport.ts';

/** A peer that negotiates longer than this is not serious. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** Replies to options that the peer does not read. */
const MAX_PENDING_HANDSHAKE_BYTES = 1024 * 1024;

export interface ConnectionOptions {
  readonly handshakeTimeoutMs?: number;
  /** Told of an exception that cost a peer its connection: a defect here, not the peer's doing. */
  readonly onFault?: (error: unknown) => void;
}

/** One peer, from greeting to end. Whatever it sends, only its own connection can be lost. */
export class Connection implements TransportListener, ExportClient {
  readonly #transport: Transport;
  readonly #closed = deferred<void>();
  readonly #onClosed: () => void;
  readonly #onFault: (error: unknown) => void;
  readonly #handshakeTimer: NodeJS.Timeout;
  #handshake: Handshake<Export> | undefined;
  #transmission: Transmission | undefined;
  #export: Export | undefined;

  constructor(
    transport: Transport,
    exports: ExportDirectory<Export>,
    onClosed: () => void,
    options: ConnectionOptions = {},
  ) {
    this.#transport = transport;
    this.#onClosed = onClosed;
    this.#onFault = options.onFault ?? (() => {});
    this.#handshake = new Handshake(exports, (bytes) => {
      transport.send(bytes);
      if (transport.pendingBytes() > MAX_PENDING_HANDSHAKE_BYTES) transport.destroy();
    });
    this.#handshakeTimer = setTimeout(() => transport.destroy(), options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS);
    transport.listen(this);
    this.#handshake.greet();
  }

  get isWaiting(): boolean {
    return this.#transmission?.isWaiting === true;
  }

  get isSequential(): boolean {
    return this.#transmission?.isSequential === true;
  }

  onReceive(chunk: Buffer): void {
    this.#guarded(() => {
      if (this.#transmission) this.#transmission.receive(chunk);
      else this.#negotiate(chunk);
    });
  }

  onDrain(): void {
    this.#guarded(() => this.#transmission?.drained());
  }

  onClose(): void {
    clearTimeout(this.#handshakeTimer);
    this.#transmission?.closed();
    if (this.#export?.clients.delete(this)) this.#export.stats.connections--;
    this.#onClosed();
    this.#closed.resolve();
  }

  wake(): void {
    this.#guarded(() => this.#transmission?.resume());
  }

  async shutdown(): Promise<void> {
    if (this.#transmission) this.#guarded(() => this.#transmission?.shutdown());
    else this.#transport.destroy();
    // A peer that reads nothing must not hold up the end.
    const timer = setTimeout(() => this.#transport.destroy(), 1000);
    await this.#closed.promise;
    clearTimeout(timer);
  }

  #negotiate(chunk: Buffer): void {
    const step = this.#handshake?.receive(chunk);
    switch (step?.kind) {
      case 'transmission':
        this.#enter(step.negotiated, step.rest);
        return;
      case 'close':
        if (step.polite) this.#transport.end();
        else this.#transport.destroy();
        return;
    }
  }

  #enter(negotiated: Negotiated<Export>, rest: Buffer): void {
    clearTimeout(this.#handshakeTimer);
    this.#handshake = undefined;
    this.#export = negotiated.export;
    this.#export.clients.add(this);
    this.#export.stats.connections++;
    this.#transmission = new Transmission(negotiated, this.#transport, (work) => this.#guarded(work));
    if (rest.length > 0) this.#transmission.receive(rest);
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#fault(error);
    }
  }

  /** Failures of the device are answered where they happen; what gets here has lost the thread of the conversation. */
  #fault(error: unknown): void {
    this.#transport.destroy();
    this.#onFault(error);
  }
}
