import type { BulkTarget } from '../../formats/bulk-target.ts';
import { startQcow2 } from '../../formats/qcow2/index.ts';
import { startVdi } from '../../formats/vdi/index.ts';
import { startVhd } from '../../formats/vhd/index.ts';
import { startVhdx } from '../../formats/vhdx/index.ts';
import { startVmdk } from '../../formats/vmdk/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { NewImage } from '../create-file.ts';
import type { ForeignFormat } from '../image-format.ts';

/** A disk file that is filled in one pass, in the terms of its format; those of other programs are made in no other way. */
export type BulkImage = NewImage | { readonly format: ForeignFormat; readonly spec: NewForeign };

export interface NewForeign {
  readonly type: 'dynamic';
  readonly virtualSizeBytes: number;
  /** The name that the file will have, without its folder: a VMDK says it. */
  readonly fileName: string;
}

/** Starts a new image of any format and type but differencing, to be filled in one pass. @throws HvError `no-space`, `io`, `invalid-argument` */
export function startImage(store: ByteStore, image: BulkImage): BulkTarget {
  switch (image.format) {
    case 'raw': {
      const { type, virtualSizeBytes } = image.spec;
      store.setSize(virtualSizeBytes);
      if (type === 'fixed') store.allocate(0, virtualSizeBytes);
      return { place: (fileOffset, length) => ({ fileOffset, length }), finish: () => {} };
    }
    case 'vhdx': {
      const { spec } = image;
      return startVhdx(store, { ...spec, type: spec.type === 'fixed' ? 'fixed' : 'dynamic' });
    }
    case 'vhd': {
      const { spec } = image;
      return startVhd(store, { ...spec, type: spec.type === 'fixed' ? 'fixed' : 'dynamic' });
    }
    case 'qcow2':
      return startQcow2(store, image.spec.virtualSizeBytes);
    case 'vdi':
      return startVdi(store, image.spec.virtualSizeBytes);
    case 'vmdk':
      return startVmdk(store, image.spec);
    default:
      return image satisfies never;
  }
}
