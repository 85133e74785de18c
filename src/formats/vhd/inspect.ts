import type { ByteStore } from '../../store/index.ts';
import type { ParentReference } from '../disk-image.ts';
import { type DynamicHeader, readDynamicHeader } from './dynamic-header.ts';
import { readFooter, type VhdFooter } from './footer.ts';
import { readParentReference } from './locator.ts';

/** What a file says about itself, without its block table. */
export interface VhdSummary {
  readonly footer: VhdFooter;
  readonly header: DynamicHeader | undefined;
  readonly parentReference: ParentReference | undefined;
}

/** Reads the head of a file, even one that another process is writing to. @throws HvError `corrupt`, `io` */
export function readVhdSummary(store: ByteStore): VhdSummary {
  const footer = readFooter(store);
  if (footer.type === 'fixed') return { footer, header: undefined, parentReference: undefined };
  const header = readDynamicHeader(store, footer);
  const parentReference = footer.type === 'differencing' ? readParentReference(store, header) : undefined;
  return { footer, header, parentReference };
}
