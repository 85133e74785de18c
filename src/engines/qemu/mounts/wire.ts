import { z } from 'zod';

/** What a worker is told when it starts. */
export const mountOrderSchema = z.strictObject({
  home: z.string(),
  run: z.string(),
  path: z.string(),
  way: z.enum(['nbd', 'fuse-loop', 'fuse']),
  readOnly: z.boolean(),
  mountFileSystems: z.boolean(),
  allowParents: z.array(z.string()),
});
export type MountOrder = z.infer<typeof mountOrderSchema>;

/** What it answers, once. */
export const mountAnswerSchema = z.union([
  z.object({ ready: z.literal(true) }),
  z.object({ error: z.object({ code: z.string(), message: z.string() }).loose() }),
]);

/** The only order on its control socket: answered once nothing shows the disk any more and it is closed; then it leaves. */
export const endRequestSchema = z.strictObject({ id: z.int().min(1), op: z.literal('end') });
