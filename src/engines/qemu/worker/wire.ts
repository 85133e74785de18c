import { z } from 'zod';

/**
 * The control protocol between commands and the worker of one machine: JSON lines over control.sock, version 1.
 *
 * What must be true in vm.json at the same moment as in the machine goes in two steps on one connection. `start`, `save`,
 * `snapshot` and `merge` end with everything prepared and nothing decided; the command then writes vm.json and sends `commit`.
 * If the connection ends between the two, the worker ends as well, and its successor reads in vm.json what was decided.
 */
export const WIRE_VERSION = 1;

const id = z.int().min(1);
const dataFile = z.string().min(1).max(300);
const guid = z.string().length(36);
const path = z.string().min(1).max(4096);

export const requestSchema = z.discriminatedUnion('op', [
  z.strictObject({ id, op: z.literal('hello'), version: z.int() }),
  /** Without a machine there is nothing to stay for. */
  z.strictObject({ id, op: z.literal('leave') }),
  z.strictObject({ id, op: z.literal('start'), restoreFrom: dataFile.nullable(), paused: z.boolean() }),
  z.strictObject({ id, op: z.literal('save'), file: dataFile }),
  z.strictObject({
    id,
    op: z.literal('snapshot'),
    memoryFile: dataFile,
    nvramFile: dataFile.nullable(),
    /** The new file of each drive, in the data folder. */
    children: z.array(z.strictObject({ driveId: guid, file: dataFile })),
  }),
  /** Merges a file of a drive's chain into its parent. Where it is the drive's own file, two steps as above; else one. */
  z.strictObject({ id, op: z.literal('merge'), driveId: guid, childPath: path, parentPath: path }),
  z.strictObject({ id, op: z.literal('commit') }),
  z.strictObject({ id, op: z.literal('abort') }),
  z.strictObject({ id, op: z.literal('shutdown') }),
  z.strictObject({ id, op: z.literal('force-stop') }),
  z.strictObject({ id, op: z.literal('pause') }),
  z.strictObject({ id, op: z.literal('resume') }),
  z.strictObject({ id, op: z.literal('reset') }),
  z.strictObject({ id, op: z.literal('screenshot') }),
  z.strictObject({ id, op: z.literal('heartbeat') }),
  z.strictObject({ id, op: z.literal('ip-addresses') }),
]);

export type WorkerRequest = z.infer<typeof requestSchema>;
export type WorkerOperation = WorkerRequest['op'];
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;
export type WorkerCall = WithoutId<WorkerRequest>;

export const helloSchema = z.object({ pid: z.int(), vmId: z.guid() });
export const startedSchema = z.object({ acceleration: z.enum(['kvm', 'tcg']) });
export const savedSchema = z.object({ paused: z.boolean() });
export const screenshotSchema = z.object({ pngBase64: z.base64() });
export const heartbeatSchema = z.object({ alive: z.boolean() });
export const ipAddressesSchema = z.object({
  adapters: z
    .array(z.object({ macAddress: z.string().max(64), addresses: z.array(z.string().max(64)).max(256) }))
    .max(256),
});
