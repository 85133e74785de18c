import type { Streams } from '../definition.ts';
import { terminalText } from './terminal-text.ts';

/** Asks y/N on a terminal; everything but y and yes is no, the end of the input too. An abort rejects. */
export async function confirmed(question: string, streams: Streams, signal: AbortSignal): Promise<boolean> {
  const { createInterface } = await import('node:readline/promises');
  const line = createInterface({ input: streams.stdin, output: streams.stderr });
  // readline takes Ctrl-C for itself in a terminal; it must reach the process's own handling.
  line.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  try {
    const answer = await Promise.race([
      line.question(`${terminalText(question)} [y/N] `, { signal }),
      // The input may end without an answer; the question itself would then wait for ever.
      new Promise<string>((resolve) => line.once('close', () => resolve(''))),
    ]);
    return /^y(es)?$/i.test(answer.trim());
  } finally {
    line.close();
  }
}
