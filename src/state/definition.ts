import { z } from 'zod';
import type { VmSpecification } from '../model/index.ts';
import { specification } from './specification.ts';
import { absolutePath, guid } from './values.ts';

/** Raised when the shape of vm.json changes; migrations.ts brings older files up. */
export const SCHEMA_VERSION = 2;

/** A file inside the machine's own data folder, so that nothing in a definition points a privileged caller elsewhere. */
const dataFile = z.string().regex(/^(?:[A-Za-z0-9][A-Za-z0-9._-]*\/)*[A-Za-z0-9][A-Za-z0-9._-]*$/);

const savedState = z.strictObject({
  /** In the data folder. */
  file: dataFile,
  savedTime: z.string(),
  /** The machine was paused when it was saved. A start makes it run all the same, as the contract says. */
  paused: z.boolean(),
});

const snapshot = z.strictObject({
  id: guid,
  name: z.string(),
  type: z.enum(['Standard', 'Production', 'ProductionOnly']),
  creationTime: z.string(),
  parentId: guid.nullable(),
  vmState: z.enum(['Off', 'Running', 'Paused', 'Saved']),
  /** The settings of that moment; its drives' paths are the layers that the snapshot froze. */
  specification,
  savedState: savedState.nullable(),
  /** The firmware's variables of that moment, in the data folder. */
  nvramFile: dataFile.nullable(),
  /** The TPM's state of that moment, in the data folder. */
  tpmFile: dataFile.nullable(),
});

/** Work that a crash may interrupt, written before it starts; the next command that changes the machine finishes it. */
const pending = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('merge'),
    /** Its blocks go into the parent, which then takes its place. */
    childPath: absolutePath,
    parentPath: absolutePath,
    /** Layers whose parent was the child: they get the parent. */
    grandchildPaths: z.array(absolutePath),
  }),
]);

const definition = z.strictObject({
  schemaVersion: z.literal(SCHEMA_VERSION),
  id: guid,
  creationTime: z.string(),
  /** The user that this machine's processes run as; null where hv itself is not root. */
  user: z.strictObject({ uid: z.int().min(1), gid: z.int().min(1) }).nullable(),
  /** Snapshots' layers, memory, firmware variables, the serial log. */
  dataPath: absolutePath,
  /** The machine version that the guest sees, pinned at the first start; a saved state fits no other. */
  machineType: z.string().nullable(),
  /** The firmware's variables, in the data folder; null until the first start of a Generation 2 machine. */
  nvramFile: dataFile.nullable(),
  /** The TPM's state, in the data folder; null until the first start of a machine with one. */
  tpmFile: dataFile.nullable(),
  specification,
  savedState: savedState.nullable(),
  snapshots: z.array(snapshot),
  currentSnapshotId: guid.nullable(),
  /** For each drive, the file that a person attached, at the bottom of the machine's own layers. */
  attached: z.record(guid, absolutePath),
  /** For each drive, the files under the attached one: nobody may write to them. */
  parents: z.record(guid, z.array(absolutePath)),
  pending: pending.nullable(),
  /** What the host tells the guest: key to value. */
  keyValuePairs: z.record(z.string().max(255), z.string().max(4096)),
  /** For each drive that is mirrored, the file that is kept the same as its disk. Ends with the run of the machine. */
  mirrors: z.record(guid, absolutePath).optional(),
});

export type SnapshotDefinition = Omit<z.infer<typeof snapshot>, 'specification'> & {
  readonly specification: VmSpecification;
};
export type VmDefinition = Omit<z.infer<typeof definition>, 'specification' | 'snapshots'> & {
  readonly specification: VmSpecification;
  readonly snapshots: readonly SnapshotDefinition[];
};
export type PendingWork = z.infer<typeof pending>;
export type SavedState = z.infer<typeof savedState>;

/** Checks what was read from vm.json. Returns the problem as text where it does not hold. */
export function parseDefinition(value: unknown): { readonly definition: VmDefinition } | { readonly problem: string } {
  const result = definition.safeParse(value);
  if (result.success) return { definition: result.data };
  const issue = result.error.issues[0];
  return { problem: issue ? `${issue.path.join('.') || 'the file'}: ${issue.message}` : 'it is not a definition' };
}
