import { HvError } from '../errors/index.ts';
import { SCHEMA_VERSION } from './definition.ts';

type Json = Readonly<Record<string, unknown>>;

/**
 * One step for each version of vm.json that ever was: from that version to the next. A definition is brought up in memory
 * when it is read, and written in its new form with the first command that changes it, so that looking changes nothing.
 */
export type Migrations = Readonly<Record<number, (old: Json) => Json>>;

/** Version 1 is the first. */
const MIGRATIONS: Migrations = {};

/**
 * Brings what was read from a definition to the present version; what has no version is left for the check that follows.
 * @throws HvError `unsupported` for a file of a later hv
 */
export function bringUp(
  value: unknown,
  path: string,
  migrations: Migrations = MIGRATIONS,
  wanted: number = SCHEMA_VERSION,
): unknown {
  let current = value;
  for (;;) {
    const version = versionOf(current);
    if (version === undefined || version === wanted) return current;
    if (version > wanted) {
      throw new HvError('unsupported', `${path} was written by a later version of hv`, {
        detail: { path, schemaVersion: version, supported: wanted },
        hint: 'Use that version, or a later one.',
      });
    }
    const step = migrations[version];
    if (!step) return current;
    current = { ...step(current as Json), schemaVersion: version + 1 }; // an object: it has a version
  }
}

function versionOf(value: unknown): number | undefined {
  if (typeof value !== 'object' || value === null || !('schemaVersion' in value)) return undefined;
  const { schemaVersion } = value;
  return typeof schemaVersion === 'number' && Number.isSafeInteger(schemaVersion) ? schemaVersion : undefined;
}
