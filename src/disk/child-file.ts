import { ZERO_GUID } from '../binary/index.ts';
import { HvError } from '../errors/index.ts';
import { inheritableItems, locatorPairs, VhdxImage } from '../formats/vhdx/index.ts';
import type { NewImage } from './create-file.ts';
import type { ChainLayer } from './open-chain.ts';
import { locatorPaths } from './parent-paths.ts';

/** What of a child may differ from its parent. */
export interface ChildSizes {
  readonly sizeBytes?: number | undefined;
  readonly blockSizeBytes?: number | undefined;
  readonly physicalSectorSizeBytes?: number | undefined;
}

/**
 * A new differencing file above an open image, of the same format. Both paths must be absolute and free of links.
 * @throws HvError `unsupported`, `invalid-argument`
 */
export function childOf(childPath: string, parent: ChainLayer, sizes: ChildSizes = {}): NewImage {
  const { image } = parent;
  if (!(image instanceof VhdxImage)) {
    throw new HvError('unsupported', `a ${image.format.toUpperCase()} file cannot have children`, {
      detail: { path: parent.path },
    });
  }
  return {
    format: 'vhdx',
    spec: {
      type: 'differencing',
      virtualSizeBytes: sizes.sizeBytes ?? image.sizeBytes,
      blockSizeBytes: sizes.blockSizeBytes,
      logicalSectorSizeBytes: image.logicalSectorSizeBytes,
      physicalSectorSizeBytes: sizes.physicalSectorSizeBytes ?? image.physicalSectorSizeBytes,
      virtualDiskId: image.virtualDiskId,
      locator: locatorPairs(image.contentId, ZERO_GUID, locatorPaths(childPath, parent.path)),
      inheritedItems: inheritableItems(image),
    },
  };
}
