import { z } from 'zod';

/** An order on a control socket: a numbered operation; each of hv's processes says in its own wire.ts which it takes. */
export interface Order {
  readonly op: string;
  readonly [field: string]: unknown;
}

const id = z.int().min(0);

/**
 * What comes back, any number of progress lines first. It is checked by whoever reads it: a worker runs with less
 * privilege than its reader.
 */
export const replySchema = z.union([
  z.strictObject({
    id,
    error: z.object({
      code: z.string(),
      message: z.string(),
      hint: z.string().optional(),
      detail: z.record(z.string(), z.json()).optional(),
    }),
  }),
  z.strictObject({ id, progress: z.object({ phase: z.string(), done: z.number(), total: z.number().optional() }) }),
  z.strictObject({ id, result: z.unknown() }),
]);
