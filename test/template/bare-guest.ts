import { type ChildProcess, spawn } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { poll, sleep, withDeadline } from '../../src/async/index.ts';

/**
 * A guest in bare QEMU, without any of hv's engine: what is wrong here is wrong with the template. Machines as the
 * engine's: Generation 1 is i440fx, SeaBIOS and an IDE disk; Generation 2 is q35, OVMF and a disk on virtio-scsi.
 */
export type Generation = 1 | 2;

const COMMAND_DEADLINE_MS = 20_000;

export class BareGuest implements AsyncDisposable {
  readonly startedAt = performance.now();
  readonly exit: Promise<number | null>;
  readonly folder: string;
  readonly #process: ChildProcess;
  readonly #sockets: Socket[] = [];
  #stderr = '';
  #console = '';
  #consoleSocket: Socket | undefined;
  #qmp: JsonChannel | undefined;
  #agent: JsonChannel | undefined;

  static async start(generation: Generation, disk: string): Promise<BareGuest> {
    const folder = await mkdtemp(join(tmpdir(), 'hv-guest-'));
    if (generation === 2) await copyFile('/usr/share/OVMF/OVMF_VARS_4M.fd', join(folder, 'vars.fd'));
    const guest = new BareGuest(folder, qemuArguments(generation, disk, folder));
    try {
      guest.#consoleSocket = await guest.#connect('console');
      guest.#consoleSocket.on('data', (chunk) => {
        guest.#console += chunk.toString('latin1');
      });
      guest.#qmp = new JsonChannel(await guest.#connect('qmp'));
      guest.#agent = new JsonChannel(await guest.#connect('agent'));
      await guest.qmp('qmp_capabilities');
    } catch (error) {
      await guest[Symbol.asyncDispose]();
      throw error;
    }
    return guest;
  }

  private constructor(folder: string, args: readonly string[]) {
    this.folder = folder;
    this.#process = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process.stderr?.on('data', (chunk) => {
      this.#stderr += chunk;
    });
    this.exit = new Promise((resolve, reject) => {
      this.#process.on('exit', (code) => resolve(code));
      this.#process.on('error', reject);
    });
    this.exit.catch(() => {});
  }

  /** Everything that the serial console showed, without control sequences. */
  get consoleText(): string {
    // biome-ignore lint/complexity/useRegexLiterals: a literal would need a control character in it
    return this.#console.replace(new RegExp('\\u001b\\[[0-9;?=]*[A-Za-z]', 'g'), '');
  }

  /** Waits until the console's text, from `from` on, matches. */
  async waitForConsole(pattern: RegExp, timeoutMs: number, from = 0): Promise<RegExpExecArray> {
    const look = (): RegExpExecArray | undefined => {
      if (this.#process.exitCode !== null) throw new Error(`QEMU ended: ${this.#stderr}`);
      return pattern.exec(this.consoleText.slice(from)) ?? undefined;
    };
    try {
      return await poll(look, { timeoutMs, intervalMs: 20, doing: `waiting for ${pattern} on the console` });
    } catch (error) {
      throw new Error(`the console showed:\n${this.consoleText.slice(-3000)}`, { cause: error });
    }
  }

  /** Types one line at the console's prompt; answers with what the command printed. */
  async type(command: string): Promise<string> {
    const from = this.consoleText.length;
    // The markers are put together by the shell, so that the echo of the line holds neither.
    this.#consoleSocket?.write(`echo "<""<"; ${command}; echo ">"">"\n`);
    const [, output = ''] = await this.waitForConsole(/\n<<\r?\n([\s\S]*?)>>\r?\n/, COMMAND_DEADLINE_MS, from);
    return output.replaceAll('\r', '');
  }

  async qmp(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return await this.#ask(this.#qmp, command, args);
  }

  async agent(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    return await this.#ask(this.#agent, command, args);
  }

  /** For commands that the agent answers with nothing. */
  tellAgent(command: string, args: Record<string, unknown>): void {
    this.#agent?.send({ execute: command, arguments: args });
  }

  /** The agent's own handshake: an id that comes back, after which answers are in step. */
  async syncAgent(): Promise<void> {
    const id = Math.floor(Math.random() * 2 ** 30);
    const answer = await this.agent('guest-sync', { id });
    if (answer !== id) throw new Error(`the agent answered ${JSON.stringify(answer)} to guest-sync ${id}`);
  }

  /** Runs a program in the guest through the agent. */
  async exec(path: string, ...args: string[]): Promise<{ exitCode: number; stdout: string }> {
    const { pid } = (await this.agent('guest-exec', { path, arg: args, 'capture-output': true })) as { pid: number };
    return await poll(
      async () => {
        const status = (await this.agent('guest-exec-status', { pid })) as Record<string, unknown>;
        if (status.exited !== true) return undefined;
        const stdout = Buffer.from(String(status['out-data'] ?? ''), 'base64').toString();
        return { exitCode: Number(status.exitcode), stdout };
      },
      { timeoutMs: COMMAND_DEADLINE_MS, doing: `running ${path} in the guest` },
    );
  }

  /** How much of the screen is not black, from 0 to 1, and its size. */
  async screen(): Promise<{ width: number; height: number; lit: number }> {
    const file = join(this.folder, 'screen.ppm');
    await this.qmp('screendump', { filename: file });
    const image = await readFile(file);
    const [header = '', width, height] = /^P6\s(\d+)\s(\d+)\s255\s/.exec(image.toString('latin1', 0, 40)) ?? [];
    const pixels = image.subarray(header.length);
    let lit = 0;
    for (let at = 0; at + 2 < pixels.length; at += 3) {
      if ((pixels[at] ?? 0) + (pixels[at + 1] ?? 0) + (pixels[at + 2] ?? 0) > 96) lit++;
    }
    return { width: Number(width), height: Number(height), lit: lit / (pixels.length / 3) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    if (this.#process.exitCode === null) this.#process.kill('SIGKILL');
    await this.exit.catch(() => {});
    await rm(this.folder, { recursive: true, force: true });
  }

  async #connect(name: string): Promise<Socket> {
    for (let tries = 0; ; tries++) {
      try {
        const socket = await new Promise<Socket>((resolve, reject) => {
          const attempt = connect(join(this.folder, name), () => resolve(attempt)).on('error', reject);
        });
        socket.on('error', () => {});
        this.#sockets.push(socket);
        return socket;
      } catch (error) {
        if (tries === 200 || this.#process.exitCode !== null) {
          throw new Error(`no socket ${name}: ${this.#stderr}`, { cause: error });
        }
        await sleep(25);
      }
    }
  }

  async #ask(channel: JsonChannel | undefined, command: string, args: Record<string, unknown>): Promise<unknown> {
    if (!channel) throw new Error('not connected');
    const reply = await withDeadline(channel.ask({ execute: command, arguments: args }), COMMAND_DEADLINE_MS, command);
    if ('error' in reply) throw new Error(`${command}: ${JSON.stringify(reply.error)}`);
    return reply.return;
  }
}

/** One JSON object per line; one question at a time; events and greetings are passed over. */
class JsonChannel {
  readonly #socket: Socket;
  #pending = '';
  #answer: ((reply: Record<string, unknown>) => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => {
      const lines = (this.#pending + chunk.toString()).split('\n');
      this.#pending = lines.pop() ?? '';
      for (const line of lines) {
        if (line.trim() === '') continue;
        const message = JSON.parse(line) as Record<string, unknown>;
        if ('return' in message || 'error' in message) this.#answer?.(message);
      }
    });
  }

  send(message: unknown): void {
    this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  async ask(message: unknown): Promise<Record<string, unknown>> {
    const reply = new Promise<Record<string, unknown>>((resolve) => {
      this.#answer = resolve;
    });
    this.send(message);
    return await reply;
  }
}

function qemuArguments(generation: Generation, disk: string, folder: string): string[] {
  const socket = (name: string): string => `path=${join(folder, name)},server=on,wait=off`;
  const drive = { driver: 'vhdx', 'node-name': 'disk', file: { driver: 'file', filename: disk } };
  const common = [
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-vga', 'std', '-sandbox', 'on'],
    ...['-accel', 'tcg', '-smp', '2,maxcpus=3', '-m', '512', '-blockdev', JSON.stringify(drive)],
    ...['-chardev', `socket,id=console,${socket('console')}`, '-serial', 'chardev:console'],
    ...['-chardev', `socket,id=qmp,${socket('qmp')}`, '-mon', 'chardev=qmp,mode=control'],
    ...['-chardev', `socket,id=agent,${socket('agent')}`, '-device', 'virtio-serial-pci'],
    ...['-device', 'virtserialport,chardev=agent,name=org.qemu.guest_agent.0'],
    ...['-netdev', 'user,id=net0,restrict=on', '-device', 'virtio-net-pci,netdev=net0,romfile='],
    ...['-netdev', 'user,id=net1,restrict=on,net=10.7.0.0/24', '-device', 'virtio-net-pci,netdev=net1,romfile='],
  ];
  if (generation === 1) {
    return [...common, '-machine', 'pc-i440fx-7.2', '-device', 'ide-hd,bus=ide.0,drive=disk,bootindex=0'];
  }
  return [
    ...common,
    // For what is plugged in later; Generation 1 takes it on its PCI bus.
    ...['-device', 'pcie-root-port,id=port0,chassis=1'],
    ...['-machine', 'pc-q35-7.2,smm=on', '-global', 'driver=cfi.pflash01,property=secure,value=on'],
    ...['-drive', 'if=pflash,unit=0,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd'],
    ...['-drive', `if=pflash,unit=1,format=raw,file=${join(folder, 'vars.fd')}`],
    ...['-device', 'virtio-scsi-pci,id=scsi0', '-device', 'scsi-hd,bus=scsi0.0,drive=disk,bootindex=0'],
  ];
}
