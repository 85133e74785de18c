import { fstatSync } from 'node:fs';
import { basename } from 'node:path';
import { ZERO_GUID } from '../binary/index.ts';
import { HvError } from '../errors/index.ts';
import { type NewVhdParent, secondsSince2000, VhdImage } from '../formats/vhd/index.ts';
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
  if (image instanceof VhdImage) return vhdChildOf(childPath, { ...parent, image }, sizes);
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

function vhdChildOf(childPath: string, { image, path }: ChainLayer & { image: VhdImage }, sizes: ChildSizes): NewImage {
  if (sizes.sizeBytes !== undefined && sizes.sizeBytes !== image.sizeBytes) {
    throw new HvError('invalid-argument', `a differencing VHD has its parent's size, ${image.sizeBytes} bytes`, {
      detail: { path: childPath, parentPath: path, sizeBytes: image.sizeBytes },
      hint: 'Make a child of the same size, or use VHDX.',
    });
  }
  return {
    format: 'vhd',
    spec: {
      type: 'differencing',
      virtualSizeBytes: image.sizeBytes,
      blockSizeBytes: sizes.blockSizeBytes,
      // By the descriptor: who writes a disk need not have the right to walk to it.
      parent: vhdParentFields(childPath, path, image.contentId, changeTimeOf(image.store.fd)),
    },
  };
}

/** What a VHD child's header says of its parent. Both paths must be absolute and free of links. */
export function vhdParentFields(
  childPath: string,
  parentPath: string,
  uniqueId: string,
  changeTimeMs: number,
): NewVhdParent {
  return {
    uniqueId,
    timestamp: secondsSince2000(changeTimeMs),
    name: basename(parentPath),
    paths: locatorPaths(childPath, parentPath),
  };
}

function changeTimeOf(fd: number | undefined): number {
  return fd === undefined ? Date.now() : fstatSync(fd).mtimeMs;
}
