import { z } from 'zod';
import { specificationSchema } from '../../../state/index.ts';

/**
 * The control protocol between commands and the worker of one machine: JSON lines over control.sock, version 1.
 *
 * What must be true in vm.json at the same moment as in the machine goes in two steps on one connection. `start`, `save`,
 * `snapshot`, `merge`, `break-mirror` and `apply-settings` end with everything prepared and nothing decided; the command then writes vm.json and sends `commit`.
 * If the connection ends between the two, the worker ends as well, and its successor reads in vm.json what was decided.
 */
export const WIRE_VERSION = 1;

const id = z.int().min(1);
const dataFile = z.string().min(1).max(300);
const guid = z.string().length(36);
const path = z.string().min(1).max(4096);
const changeTrackingId = z.string().min(1).max(256);

/** What may be asked of the guest's agent. */
export const AGENT_COMMANDS = [
  'guest-info',
  'guest-get-osinfo',
  'guest-get-host-name',
  'guest-get-time',
  'guest-set-time',
  'guest-get-timezone',
  'guest-get-users',
  'guest-get-fsinfo',
  'guest-shutdown',
  'guest-exec',
  'guest-exec-status',
  'guest-file-open',
  'guest-file-read',
  'guest-file-write',
  'guest-file-flush',
  'guest-file-close',
] as const;

/** So many presses are taken at once. */
export const MAX_PRESSES = 1024;

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
  /** Leaves the machine to a successor, which opens what this worker has no right to open. */
  z.strictObject({ id, op: z.literal('hand-over') }),
  /** Answered when the drive's mirror is the same as its disk. */
  z.strictObject({ id, op: z.literal('wait-mirror'), driveId: guid }),
  /** Ends a mirror. Where the drive goes on with it, two steps as above; else one. */
  z.strictObject({ id, op: z.literal('break-mirror'), driveId: guid, switchOver: z.boolean() }),
  /** Makes the running machine what the specification says. Two steps as above: what fails has been undone. */
  z.strictObject({ id, op: z.literal('apply-settings'), specification: specificationSchema }),
  z.strictObject({ id, op: z.literal('commit') }),
  z.strictObject({ id, op: z.literal('abort') }),
  z.strictObject({ id, op: z.literal('shutdown') }),
  z.strictObject({ id, op: z.literal('force-stop') }),
  z.strictObject({ id, op: z.literal('pause') }),
  z.strictObject({ id, op: z.literal('resume') }),
  z.strictObject({ id, op: z.literal('reset') }),
  z.strictObject({ id, op: z.literal('screenshot') }),
  z.strictObject({ id, op: z.literal('heartbeat') }),
  /** One command for the guest's agent; work of several, as running a program, is put together by whoever asks. */
  z.strictObject({
    id,
    op: z.literal('agent'),
    command: z.enum(AGENT_COMMANDS),
    arguments: z.record(z.string(), z.json()),
    timeoutMs: z.number().positive().max(600_000),
    maxReplyBytes: z
      .int()
      .min(1)
      .max(48 * 2 ** 20),
    silenceMs: z.number().positive().max(60_000).optional(),
  }),
  /** The key-value pairs that the guest is to find, in place of those from before. */
  z.strictObject({ id, op: z.literal('key-value-pairs'), pairs: z.record(z.string().max(255), z.string().max(4096)) }),
  /** Each press is a set of keys, by QEMU's names; one after the other. */
  z.strictObject({
    id,
    op: z.literal('press-keys'),
    presses: z
      .array(
        z
          .array(z.string().regex(/^[a-z0-9_]{1,32}$/))
          .min(1)
          .max(8),
      )
      .min(1)
      .max(MAX_PRESSES),
  }),
  z.strictObject({ id, op: z.literal('ip-addresses') }),
  z.strictObject({ id, op: z.literal('measure') }),
  z.strictObject({
    id,
    op: z.literal('change-tracking'),
    driveId: guid,
    change: z.enum(['enable', 'disable']).nullable(),
  }),
  z.strictObject({ id, op: z.literal('take-reference-point'), driveId: guid }),
  z.strictObject({
    id,
    op: z.literal('query-changes'),
    driveId: guid,
    sinceId: changeTrackingId,
    options: z.strictObject({
      offsetBytes: z.number().optional(),
      lengthBytes: z.number().optional(),
      maxRanges: z.number().optional(),
      takeReferencePoint: z.boolean().optional(),
    }),
  }),
  /** The backup ends with the connection, if not before. */
  z.strictObject({ id, op: z.literal('begin-backup'), driveId: guid, sinceId: changeTrackingId.nullable() }),
  z.strictObject({ id, op: z.literal('backup-pieces'), exportName: z.string().max(100), first: z.int().min(0) }),
  z.strictObject({ id, op: z.literal('end-backup'), exportName: z.string().max(100) }),
]);

/** So many pieces are told of at once. */
export const PIECES_AT_ONCE = 20_000;

export type WorkerRequest = z.infer<typeof requestSchema>;
export type WorkerOperation = WorkerRequest['op'];
type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;
export type WorkerCall = WithoutId<WorkerRequest>;

export const helloSchema = z.object({ pid: z.int(), vmId: z.guid() });
export const startedSchema = z.object({ acceleration: z.enum(['kvm', 'tcg']) });
export const savedSchema = z.object({ paused: z.boolean() });
export const screenshotSchema = z.object({ pngBase64: z.base64() });
export const agentAnswerSchema = z.object({ answer: z.unknown().optional() });
export const heartbeatSchema = z.object({ alive: z.boolean() });
export const ipAddressesSchema = z.object({
  adapters: z
    .array(z.object({ macAddress: z.string().max(64), addresses: z.array(z.string().max(64)).max(256) }))
    .max(256),
});

const size = z.int().min(0);
export const measuredSchema = z.object({
  /** The host threads of the virtual processors, in their order. */
  processorThreads: z.array(z.int().min(1)).max(4096),
  /** Null where it has no balloon. */
  balloonBytes: size.nullable(),
  disks: z
    .array(
      z.object({
        driveId: guid,
        readBytes: size,
        writtenBytes: size,
        readOperations: size,
        writeOperations: size,
      }),
    )
    .max(1024),
  adapters: z
    .array(
      z.object({
        macAddress: z.string().max(64),
        receivedBytes: size,
        sentBytes: size,
        receivedPackets: size,
        sentPackets: size,
      }),
    )
    .max(256),
});

export const changeTrackingSchema = z.object({
  enabled: z.boolean(),
  newerChanges: z.boolean(),
  mostRecentId: z.string().max(256).nullable(),
});
export const referencePointSchema = z.object({ changeTrackingId });
export const changesSchema = z.object({
  ranges: z.array(z.object({ offsetBytes: size, lengthBytes: size })),
  processedLengthBytes: size,
  referencePointId: changeTrackingId.nullable(),
});
export const begunBackupSchema = z.object({
  exportName: z.string().max(100),
  changeTrackingId,
  sizeBytes: size,
  logicalSectorSizeBytes: size,
  physicalSectorSizeBytes: size,
  pieceCount: size,
});
export const piecesSchema = z.object({
  pieces: z.array(z.object({ offset: size, length: size, isZero: z.boolean() })).max(PIECES_AT_ONCE),
});
