import { z } from 'zod';

const id = z.int().min(1);

/** Orders to the keeper: JSON lines over keeper.sock. */
export const keeperRequestSchema = z.discriminatedUnion('op', [
  /** Answers once the worker of this machine listens; starts it where there is none. */
  z.strictObject({ id, op: z.literal('ensure-worker'), vmId: z.string().length(36) }),
  /** Answers once no worker holds the disks of this machine, which is off: one that a killed command asked for leaves. */
  z.strictObject({ id, op: z.literal('release-worker'), vmId: z.string().length(36) }),
  /** Looks for machines whose worker died while no keeper was there. */
  z.strictObject({ id, op: z.literal('rescue') }),
]);
