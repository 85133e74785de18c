import type { BulkTarget } from '../../formats/bulk-target.ts';
import { startVhd } from '../../formats/vhd/index.ts';
import { startVhdx } from '../../formats/vhdx/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { NewImage } from '../create-file.ts';

/** Starts a new image of any format and type but differencing, to be filled in one pass. @throws HvError `no-space`, `io`, `invalid-argument` */
export function startImage(store: ByteStore, image: NewImage): BulkTarget {
  switch (image.format) {
    case 'raw': {
      const { type, virtualSizeBytes } = image.spec;
      store.setSize(virtualSizeBytes);
      if (type === 'fixed') store.allocate(0, virtualSizeBytes);
      return { blockSizeBytes: Number.POSITIVE_INFINITY, position: (offset) => offset, finish: () => {} };
    }
    case 'vhdx': {
      const { spec } = image;
      return startVhdx(store, { ...spec, type: spec.type === 'fixed' ? 'fixed' : 'dynamic' });
    }
    case 'vhd': {
      const { spec } = image;
      return startVhd(store, { ...spec, type: spec.type === 'fixed' ? 'fixed' : 'dynamic' });
    }
    default:
      return image satisfies never;
  }
}
