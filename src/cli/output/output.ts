import { terminalLine, terminalText } from './terminal-text.ts';

export interface Column<T> {
  readonly title: string;
  readonly align?: 'left' | 'right';
  text(row: T): string;
  /** How the cell looks on a terminal. */
  style?(row: T): Style | undefined;
}

export type Style = 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan';

export interface OutputOptions {
  readonly stdout: NodeJS.WriteStream;
  readonly stderr: NodeJS.WriteStream;
  readonly json: boolean;
  readonly quiet: boolean;
  readonly env: NodeJS.ProcessEnv;
  /** Called before anything is printed: a progress bar leaves the screen first. */
  readonly beforePrinting?: () => void;
}

/** Everything that commands print. JSON, plain text for pipes, tables and colours for terminals. */
export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly #stdout: NodeJS.WriteStream;
  readonly #stderr: NodeJS.WriteStream;
  readonly #env: NodeJS.ProcessEnv;
  readonly #beforePrinting: () => void;

  constructor(options: OutputOptions) {
    this.json = options.json;
    this.quiet = options.quiet;
    this.#stdout = options.stdout;
    this.#stderr = options.stderr;
    this.#env = options.env;
    this.#beforePrinting = options.beforePrinting ?? (() => {});
  }

  get isTerminal(): boolean {
    return this.#stdout.isTTY === true;
  }

  get #coloured(): boolean {
    return this.isTerminal && !this.#env.NO_COLOR && this.#env.TERM !== 'dumb';
  }

  /** One object, or what people are told instead. */
  async result(value: unknown, human: () => string | Promise<string>): Promise<void> {
    if (this.json) this.#printJson(value);
    else this.text(await human());
  }

  /** One of a stream that goes on: an object on a line of its own, or a line for people. */
  line(value: unknown, human: () => string): void {
    if (this.json) this.raw(`${JSON.stringify(value)}\n`);
    else this.text(human());
  }

  /** What was done: an object with --json, a sentence otherwise, nothing with --quiet. */
  done(value: unknown, sentence: string): void {
    if (this.json) this.#printJson(value);
    else if (!this.quiet) this.text(sentence);
  }

  /** One array; a table on a terminal; lines of tab-separated cells elsewhere. */
  async list<T>(rows: readonly T[], columns: readonly Column<T>[], whenEmpty: string): Promise<void> {
    if (this.json) this.#printJson(rows);
    else if (this.isTerminal) this.text(rows.length === 0 ? whenEmpty : await this.#table(rows, columns));
    else for (const row of rows) this.text(columns.map((column) => terminalLine(column.text(row))).join('\t'));
  }

  /** Titles beside values; what has no value is left out. */
  async facts(
    facts: readonly (readonly [title: string, value: string | null | undefined, style?: Style])[],
  ): Promise<string> {
    const shown = facts.filter(([, value]) => value !== null && value !== undefined);
    const width = Math.max(...shown.map(([title]) => title.length)) + 2;
    const lines = await Promise.all(
      shown.map(async ([title, value, style]) => {
        const [first = '', ...more] = terminalText(value ?? '').split('\n');
        const start = (await this.styled(`${title}:`, 'dim')) + ' '.repeat(width - title.length - 1);
        return [start + (await this.styled(first, style)), ...more.map((line) => ' '.repeat(width) + line)].join('\n');
      }),
    );
    return lines.join('\n');
  }

  /** Lines on standard output, without anything that a terminal would obey but our own colours. */
  text(text: string): void {
    this.raw(text.endsWith('\n') ? text : `${text}\n`);
  }

  /** As it is: for the bytes that a command was asked for. */
  raw(bytes: string | Uint8Array): void {
    this.#beforePrinting();
    this.#stdout.write(bytes);
  }

  /** Something to know on the way, on standard error; never with --json or --quiet. */
  note(text: string): void {
    if (this.json || this.quiet) return;
    this.#beforePrinting();
    this.#stderr.write(`${terminalText(text)}\n`);
  }

  async styled(text: string, style: Style | undefined): Promise<string> {
    if (style === undefined || !this.#coloured) return text;
    const { default: colours } = await import('picocolors');
    return colours.createColors(true)[style](text);
  }

  #printJson(value: unknown): void {
    this.raw(`${JSON.stringify(value, undefined, this.isTerminal ? 2 : undefined)}\n`);
  }

  async #table<T>(rows: readonly T[], columns: readonly Column<T>[]): Promise<string> {
    const { default: Table } = await import('cli-table3');
    const none = Object.fromEntries(
      [
        'top',
        'top-mid',
        'top-left',
        'top-right',
        'bottom',
        'bottom-mid',
        'bottom-left',
        'bottom-right',
        'left',
        'left-mid',
        'mid',
        'mid-mid',
        'right',
        'right-mid',
      ].map((part) => [part, '']),
    );
    const table = new Table({
      chars: { ...none, middle: '  ' },
      style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
      colAligns: columns.map((column) => column.align ?? 'left'),
    });
    table.push(await Promise.all(columns.map((column) => this.styled(column.title, 'bold'))));
    for (const row of rows) {
      table.push(
        await Promise.all(columns.map((column) => this.styled(terminalLine(column.text(row)), column.style?.(row)))),
      );
    }
    return table
      .toString()
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n');
  }
}
