import { HvError } from '../errors/index.ts';
import type { StorageQos } from './drives.ts';

/** Checks bounds of a drive; what is not given stays as it was. @throws HvError `invalid-argument` */
export function validQos(given: Partial<StorageQos>, present: StorageQos): StorageQos {
  const qos = {
    maximumIops: given.maximumIops === undefined ? present.maximumIops : given.maximumIops,
    minimumIops: given.minimumIops === undefined ? present.minimumIops : given.minimumIops,
    maximumBytesPerSecond:
      given.maximumBytesPerSecond === undefined ? present.maximumBytesPerSecond : given.maximumBytesPerSecond,
  };
  for (const [what, value] of Object.entries(qos)) {
    if (value === null || (Number.isSafeInteger(value) && value >= 1 && value <= MAX_BOUND)) continue;
    throw new HvError('invalid-argument', `the ${WORDS[what]} ${String(value)} is not possible`, {
      detail: { what, value: String(value) },
      hint: `Use a whole number from 1 to ${MAX_BOUND}, or none.`,
    });
  }
  if (qos.minimumIops !== null && qos.maximumIops !== null && qos.minimumIops > qos.maximumIops) {
    throw new HvError('invalid-argument', 'a drive cannot be promised more operations a second than it may have', {
      detail: { minimumIops: qos.minimumIops, maximumIops: qos.maximumIops },
    });
  }
  return qos;
}

/** What every engine takes. */
const MAX_BOUND = 1_000_000_000_000;
const WORDS: Readonly<Record<string, string>> = {
  maximumIops: 'maximum of operations a second',
  minimumIops: 'minimum of operations a second',
  maximumBytesPerSecond: 'maximum of bytes a second',
};
