/** What a step tells: its lines, and perhaps a value for the steps that follow. */
type Told<T> = readonly string[] | { readonly lines: readonly string[]; readonly value: T };

const TIME_WIDTH = 8;
const LABEL_WIDTH = 13;

/** Prints steps one under the other with the time that each took; on a terminal also what it is busy with. */
export class Story {
  readonly #out: NodeJS.WriteStream;
  readonly #startedAt = performance.now();
  #isBusy = false;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  title(text: string): void {
    this.#out.write(`\n${text}\n\n`);
  }

  async step(label: string, work: (note: (text: string) => void) => Promise<readonly string[]>): Promise<void>;
  async step<T>(label: string, work: (note: (text: string) => void) => Promise<Told<T>>): Promise<T>;
  async step<T>(label: string, work: (note: (text: string) => void) => Promise<Told<T>>): Promise<T | undefined> {
    const startedAt = performance.now();
    this.#busy(label, '...');
    const told = await work((text) => this.#busy(label, `... ${text}`));
    this.end();
    const { lines, value } = 'lines' in told ? told : { lines: told, value: undefined };
    const [first = '', ...more] = lines;
    const seconds = `${((performance.now() - startedAt) / 1000).toFixed(1)} s`;
    this.#out.write(`${seconds.padStart(TIME_WIDTH)}  ${label.padEnd(LABEL_WIDTH)}${first}\n`);
    for (const line of more) this.#out.write(`${' '.repeat(TIME_WIDTH + 2 + LABEL_WIDTH)}${line}\n`);
    return value;
  }

  /** The time that everything took, then a heading over commands with what each does. */
  ending(heading: string, commands: readonly (readonly [command: string, what: string])[]): void {
    const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(1);
    const width = Math.max(...commands.map(([command]) => command.length));
    const lines = commands.map(([command, what]) => `  ${command.padEnd(width)}   # ${what}`);
    this.#out.write(`\nAll of it took ${seconds} s. ${heading}:\n\n${lines.join('\n')}\n\n`);
  }

  /** Takes back the line of a step in progress. */
  end(): void {
    if (this.#isBusy) this.#out.write('\r\u001b[K');
    this.#isBusy = false;
  }

  #busy(label: string, text: string): void {
    if (this.#out.isTTY !== true) return;
    this.end();
    this.#out.write(`${' '.repeat(TIME_WIDTH + 2)}${label.padEnd(LABEL_WIDTH)}${text}`);
    this.#isBusy = true;
  }
}
