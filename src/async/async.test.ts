import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HvError } from '../errors/index.ts';
import {
  abortedError,
  deferred,
  Mutex,
  mapBounded,
  type Progress,
  poll,
  sleep,
  throttleProgress,
  throwIfAborted,
  Undo,
  withDeadline,
} from './index.ts';

/** How many listeners a signal carries: none may be left behind. */
function watchedSignal(): { controller: AbortController; listeners(): number } {
  const controller = new AbortController();
  const { signal } = controller;
  let count = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  vi.spyOn(signal, 'addEventListener').mockImplementation((...args: Parameters<typeof add>) => {
    count++;
    add(...args);
  });
  vi.spyOn(signal, 'removeEventListener').mockImplementation((...args: Parameters<typeof remove>) => {
    count--;
    remove(...args);
  });
  return { controller, listeners: () => count };
}

describe('abort', () => {
  it('becomes the code aborted with the reason as its cause, unless the reason is an HvError', () => {
    throwIfAborted(undefined);
    throwIfAborted(new AbortController().signal);
    const reason = new Error('Ctrl-C');
    expect(() => throwIfAborted(AbortSignal.abort(reason), 'the copy')).toThrowError(
      expect.objectContaining({ code: 'aborted', message: 'the copy was cancelled', cause: reason }),
    );
    const given = new HvError('timeout', 'too slow');
    expect(abortedError(AbortSignal.abort(given))).toBe(given);
  });
});

describe('sleep', () => {
  it('waits as long as it is told and leaves no listener', async () => {
    const { controller, listeners } = watchedSignal();
    const started = performance.now();
    await sleep(30, { signal: controller.signal });
    expect(performance.now() - started).toBeGreaterThanOrEqual(28);
    expect(listeners()).toBe(0);
  });

  it('ends at once on abort, also one that came before', async () => {
    const { controller } = watchedSignal();
    const waiting = sleep(60_000, { signal: controller.signal });
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'aborted' });
    await expect(sleep(60_000, { signal: controller.signal })).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('withDeadline', () => {
  it('passes the result and the failure of the work through and leaves no listener', async () => {
    const { controller, listeners } = watchedSignal();
    const { signal } = controller;
    expect(await withDeadline(delay(1, 'done'), 1000, 'work', { signal })).toBe('done');
    await expect(withDeadline(Promise.reject(new Error('x')), 1000, 'work', { signal })).rejects.toThrow('x');
    expect(listeners()).toBe(0);
  });

  it('says timeout or aborted', async () => {
    const never = new Promise<never>(() => {});
    await expect(withDeadline(never, 10, 'starting')).rejects.toMatchObject({
      code: 'timeout',
      message: 'starting took longer than 10 ms',
      detail: { timeoutMs: 10 },
    });
    await expect(withDeadline(never, 60_000, 'starting', { signal: AbortSignal.timeout(5) })).rejects.toMatchObject({
      code: 'aborted',
    });
    await expect(withDeadline(never, 60_000, 'starting', { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'aborted',
    });
  });
});

describe('Undo', () => {
  it('undoes last things first, once, when its scope is left by an error', async () => {
    const done: string[] = [];
    const resource = { [Symbol.asyncDispose]: async () => void done.push('resource') };
    const handle = { [Symbol.dispose]: () => void done.push('handle') };
    const work = async (): Promise<void> => {
      await using undo = new Undo();
      undo.defer(() => void done.push('first'));
      expect(undo.use(resource)).toBe(resource);
      undo.use(handle);
      throw new Error('half made');
    };
    await expect(work()).rejects.toThrow('half made');
    expect(done).toEqual(['handle', 'resource', 'first']);
  });

  it('keeps everything after commit', async () => {
    const done: string[] = [];
    {
      await using undo = new Undo();
      undo.defer(() => void done.push('x'));
      undo.commit();
    }
    expect(done).toEqual([]);
  });

  it('goes on after a step that fails, and reports', async () => {
    const done: string[] = [];
    const undo = new Undo();
    undo.defer(() => void done.push('first'));
    undo.defer(() => Promise.reject(new Error('second')));
    await expect(undo[Symbol.asyncDispose]()).rejects.toThrow('second');
    expect(done).toEqual(['first']);
    await undo[Symbol.asyncDispose]();
    undo.defer(() => Promise.reject(new Error('a')));
    undo.defer(() => {
      throw new Error('b');
    });
    await expect(undo[Symbol.asyncDispose]()).rejects.toMatchObject({ errors: [{ message: 'b' }, { message: 'a' }] });
  });
});

describe('deferred', () => {
  it('is settled from outside', async () => {
    const good = deferred<number>();
    good.resolve(1);
    good.resolve(2);
    expect(await good.promise).toBe(1);
    const bad = deferred<number>();
    bad.reject(new Error('x'));
    await expect(bad.promise).rejects.toThrow('x');
  });
});

describe('Mutex', () => {
  it('runs one thing at a time, first come first served, also after a failure', async () => {
    const mutex = new Mutex();
    const seen: string[] = [];
    const work = (name: string, ms: number) => async (): Promise<string> => {
      seen.push(`+${name}`);
      await delay(ms);
      seen.push(`-${name}`);
      if (name === 'b') throw new Error('b failed');
      return name;
    };
    const results = await Promise.allSettled([
      mutex.run(work('a', 15)),
      mutex.run(work('b', 5)),
      mutex.run(work('c', 1)),
      mutex.run(() => 'plain'),
    ]);
    expect(seen).toEqual(['+a', '-a', '+b', '-b', '+c', '-c']);
    expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
  });
});

describe('mapBounded', () => {
  it('keeps order and never has more in progress than allowed', async () => {
    let running = 0;
    let most = 0;
    const results = await mapBounded([5, 1, 4, 2, 3, 0], 3, async (ms, index) => {
      most = Math.max(most, ++running);
      await delay(ms * 3);
      running--;
      return `${index}:${ms}`;
    });
    expect(results).toEqual(['0:5', '1:1', '2:4', '3:2', '4:3', '5:0']);
    expect(most).toBe(3);
    expect(await mapBounded([], 3, async () => 1)).toEqual([]);
  });

  it('starts nothing more after a failure, and rejects when what was in progress has ended', async () => {
    const started: number[] = [];
    let running = 0;
    const work = mapBounded([0, 1, 2, 3, 4, 5], 2, async (item) => {
      started.push(item);
      running++;
      await delay(item === 0 ? 30 : 5);
      running--;
      if (item === 1) throw new Error('one');
      return item;
    });
    await expect(work).rejects.toThrow('one');
    expect(running).toBe(0);
    expect(started).toEqual([0, 1]);
  });
});

describe('poll', () => {
  it('asks until there is an answer', async () => {
    let asked = 0;
    const answer = await poll(() => (++asked < 3 ? undefined : 'yes'), { timeoutMs: 1000, intervalMs: 1, doing: 'x' });
    expect(answer).toBe('yes');
    expect(asked).toBe(3);
    expect(await poll(async () => false, { timeoutMs: 0, doing: 'x' })).toBe(false);
  });

  it('ends with timeout, aborted or the failure of the question', async () => {
    const never = (): undefined => undefined;
    await expect(poll(never, { timeoutMs: 20, intervalMs: 5, doing: 'waiting for QEMU' })).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('while waiting for QEMU'),
    });
    const signal = AbortSignal.timeout(10);
    await expect(poll(never, { timeoutMs: 60_000, intervalMs: 5, doing: 'x', signal })).rejects.toMatchObject({
      code: 'aborted',
    });
    const broken = (): undefined => {
      throw new Error('broken');
    };
    await expect(poll(broken, { timeoutMs: 1000, doing: 'x' })).rejects.toThrow('broken');
  });
});

describe('throttleProgress', () => {
  beforeEach(() => {
    vi.useFakeTimers({ now: 1_000_000 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('tells little, never goes backwards, and always tells the end and every new phase', () => {
    const heard: Progress[] = [];
    const tell = throttleProgress((progress) => heard.push(progress));
    for (let done = 0; done <= 100; done++) {
      vi.advanceTimersByTime(10);
      tell({ phase: 'copy', done, total: 100 });
    }
    tell({ phase: 'copy', done: 50, total: 100 });
    tell({ phase: 'flush', done: 0 });
    const copies = heard.filter((progress) => progress.phase === 'copy').map((progress) => progress.done);
    expect(copies.length).toBeLessThanOrEqual(12);
    expect(copies).toEqual([...copies].sort((a, b) => a - b));
    expect(copies.at(-1)).toBe(100);
    expect(heard.at(-1)).toEqual({ phase: 'flush', done: 0 });
    throttleProgress(undefined)({ phase: 'x', done: 1 });
  });
});
