import { throwIfAborted } from '../../async/index.ts';
import type { Streams } from '../definition.ts';
import { terminalText } from './terminal-text.ts';

/** Asks y/N on a terminal; everything but y and yes is no, the end of the input too. @throws HvError `aborted` */
export async function confirmed(
  question: string,
  streams: Pick<Streams, 'stdin' | 'stderr'>,
  signal: AbortSignal,
): Promise<boolean> {
  const { createInterface } = await import('node:readline/promises');
  const line = createInterface({ input: streams.stdin, output: streams.stderr });
  // readline takes Ctrl-C for itself in a terminal; it must reach the process's own handling.
  line.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  // The input may end without an answer; the question itself would then wait for ever.
  let endOfInput = (): void => {};
  const noAnswer = new Promise<string>((resolve) => {
    endOfInput = () => {
      streams.stderr.write('\n');
      resolve('');
    };
  });
  line.once('close', endOfInput);
  try {
    const answer = await Promise.race([line.question(`${terminalText(question)} [y/N] `, { signal }), noAnswer]);
    return /^y(es)?$/i.test(answer.trim());
  } catch (error) {
    throwIfAborted(signal, 'the question');
    throw error;
  } finally {
    line.off('close', endOfInput);
    line.close();
  }
}
