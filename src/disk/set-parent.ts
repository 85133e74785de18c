import { ZERO_GUID } from '../binary/index.ts';
import { HvError } from '../errors/index.ts';
import { hasVhdxSignature, locatorPairs, replaceLocator, VhdxImage } from '../formats/vhdx/index.ts';
import { hostRun, openImageFile } from './open-file.ts';
import { locatorPaths } from './parent-paths.ts';

/**
 * Makes a differencing disk stand on another file: writes its identity and place into the child's locator, as one.
 * The two must hold the same disk's contents; that is the caller's to know.
 * @throws HvError `invalid-state` (no differencing disk), `unsupported` (the parent is no VHDX), `invalid-argument` (sizes
 *   differ, or the parent is the child), `in-use`, `not-found`, `no-space`, `io`
 */
export async function setParent(childPath: string, parentPath: string): Promise<void> {
  const file = openImageFile(parentPath, { access: 'read' });
  let dataWriteGuid: string;
  let sizes: { readonly sector: number; readonly disk: number };
  try {
    if (!hasVhdxSignature(file.store)) {
      throw new HvError('unsupported', `${parentPath} is not a VHDX file`, { detail: { path: parentPath } });
    }
    const parent = VhdxImage.open(file.store, { readOnly: true, hostRun: hostRun() });
    dataWriteGuid = parent.contentId;
    sizes = { sector: parent.metadata.logicalSectorSizeBytes, disk: parent.sizeBytes };
  } finally {
    file.store.close();
  }
  const childFile = openImageFile(childPath, { access: 'write' });
  const child = openOrClose(childFile.store);
  try {
    if (childFile.identity === file.identity) {
      throw new HvError('invalid-argument', `${childPath} cannot be its own parent`, { detail: { path: childPath } });
    }
    if (child.metadata.logicalSectorSizeBytes !== sizes.sector || child.sizeBytes < sizes.disk) {
      throw new HvError('invalid-argument', `${parentPath} does not fit ${childPath}: their sizes differ`, {
        detail: { path: childPath, parentPath },
      });
    }
    replaceLocator(child, locatorPairs(dataWriteGuid, ZERO_GUID, locatorPaths(childFile.path, file.path)));
  } finally {
    await child.close();
  }
}

function openOrClose(store: ReturnType<typeof openImageFile>['store']): VhdxImage {
  try {
    return VhdxImage.open(store, { hostRun: hostRun() });
  } catch (error) {
    store.close();
    throw error;
  }
}
