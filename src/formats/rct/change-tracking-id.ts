import { isGuid } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';

const TEXT = /^rctX((?::[0-9a-f]+){5}):([0-9a-f]{8})$/i;

/** What a change tracking id names, as `rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001` does. */
export interface ChangeTrackingId {
  readonly branch: string;
  readonly counter: number;
}

/** The text of an id: the branch GUID's groups and the counter, hexadecimal. */
export function formatChangeTrackingId({ branch, counter }: ChangeTrackingId): string {
  return `rctX:${branch.replaceAll('-', ':')}:${counter.toString(16).padStart(8, '0')}`;
}

/** @throws HvError `invalid-argument` */
export function parseChangeTrackingId(text: string): ChangeTrackingId {
  const [, groups, counter] = TEXT.exec(text) ?? [];
  const branch = groups?.slice(1).replaceAll(':', '-').toLowerCase() ?? '';
  if (counter === undefined || !isGuid(branch)) {
    throw new HvError('invalid-argument', `${JSON.stringify(text.slice(0, 256))} is not a change tracking id`, {
      hint: 'An id looks like rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001.',
    });
  }
  return { branch, counter: Number.parseInt(counter, 16) };
}
