import { connect, type Socket } from 'node:net';
import { poll } from '../../../src/async/index.ts';
import type { Host } from '../../../src/host/index.ts';

/** What the shell on the guest's serial port shows when it waits for a line. */
const PROMPT = /hv-guest:\S*# $/;
const COMMAND_MS = 30_000;
const CONTROL_SEQUENCES = new RegExp(`${String.fromCharCode(27)}\\[[0-9;?=]*[A-Za-z]`, 'g');

/** The shell on a guest's serial port, as a person at the console has it. */
export class GuestConsole implements AsyncDisposable {
  readonly #socket: Socket;
  #text = '';
  #isClosed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      this.#text += chunk.toString('latin1');
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#isClosed = true;
    });
  }

  /** Connects and waits for the shell's prompt. */
  static async open(host: Host, vmId: string, options: { readonly timeoutMs?: number } = {}): Promise<GuestConsole> {
    const { path } = await host.vms.console(vmId);
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    const console = new GuestConsole(socket);
    socket.write('\n');
    await console.waitFor(PROMPT, options.timeoutMs ?? COMMAND_MS);
    return console;
  }

  /** Everything that came since the connection, without control sequences. */
  get text(): string {
    return this.#text.replace(CONTROL_SEQUENCES, '').replaceAll('\r', '');
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  async waitFor(pattern: RegExp, timeoutMs = COMMAND_MS, from = 0): Promise<RegExpExecArray> {
    try {
      return await poll(() => pattern.exec(this.text.slice(from)) ?? undefined, {
        timeoutMs,
        intervalMs: 15,
        doing: `waiting for ${pattern} on the console`,
      });
    } catch (error) {
      throw new Error(`the console showed: ${JSON.stringify(this.text.slice(-2000))}`, { cause: error });
    }
  }

  /** Types a line at the prompt and gives back what it printed, without the last line end. */
  async run(command: string, timeoutMs = COMMAND_MS): Promise<string> {
    const from = this.text.length;
    // The shell puts the markers together, so that the echo of the line holds neither.
    this.type(`echo "<""<"; ${command}; echo ">"">"`);
    const [, output = ''] = await this.waitFor(/\n<<\n([\s\S]*?)>>\n/, timeoutMs, from);
    return output.replace(/\n$/, '');
  }

  /** Types a line and waits for nothing. */
  type(line: string): void {
    this.#socket.write(`${line}\n`);
  }

  /** Ends what runs in the foreground, as Ctrl-C does. */
  async interrupt(): Promise<void> {
    const from = this.text.length;
    this.#socket.write(Buffer.of(3));
    await this.waitFor(PROMPT, COMMAND_MS, from);
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    await new Promise<void>((resolve) => {
      this.#socket.once('close', () => resolve());
      this.#socket.destroy();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
