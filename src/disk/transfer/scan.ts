/** Read-only: zeros to compare with and to feed. */
export const ZEROS: Buffer = Buffer.alloc(2 ** 20);

/** Whether bytes are all zero: compared with zeros in one call, many times faster than a loop. `length` is at most 1 MiB. */
export function isZero(bytes: Buffer, start: number, length: number): boolean {
  return bytes.compare(ZEROS, 0, length, start, start + length) === 0;
}

/** Lets everything else in the process have its turn. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Where the first `length` bytes of two buffers differ first; undefined where they do not. */
export function firstDifference(first: Buffer, second: Buffer, length: number): number | undefined {
  if (first.compare(second, 0, length, 0, length) === 0) return undefined;
  let from = 0;
  for (let to = length; to - from > 1; ) {
    const middle = (from + to) >> 1;
    if (first.compare(second, from, middle, from, middle) === 0) from = middle;
    else to = middle;
  }
  return from;
}
