import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { HvError } from '../../errors/index.ts';
import { confirmed } from './prompt.ts';

function terminal(): { readonly stdin: NodeJS.ReadStream; readonly stderr: NodeJS.WriteStream } {
  // readline needs no more of a terminal than a stream.
  return {
    stdin: new PassThrough() as unknown as NodeJS.ReadStream,
    stderr: new PassThrough() as unknown as NodeJS.WriteStream,
  };
}

const never = new AbortController().signal;

describe('a question', () => {
  it.each([
    ['y', true],
    ['YES', true],
    ['n', false],
    ['', false],
    ['yeah', false],
  ])('takes %j for %s', async (typed, meant) => {
    const streams = terminal();
    const answer = confirmed('Sure?', streams, never);
    streams.stdin.push(`${typed}\n`);
    expect(await answer).toBe(meant);
  });

  it('takes the end of the input for no', async () => {
    const streams = terminal();
    const answer = confirmed('Sure?', streams, never);
    streams.stdin.push(null);
    expect(await answer).toBe(false);
  });

  it('ends as interrupted by Ctrl-C, which is no defect', async () => {
    const interrupt = new AbortController();
    const answer = confirmed('Sure?', terminal(), interrupt.signal);
    setTimeout(() => interrupt.abort(new HvError('aborted', 'interrupted')), 20);
    await expect(answer).rejects.toMatchObject({ code: 'aborted', message: 'interrupted' });
  });
});
