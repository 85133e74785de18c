import { isHvError } from '../errors/index.ts';
import type { DiskImage, DiskType, ParentReference } from '../formats/disk-image.ts';
import { hasVhdSignature, readVhdSummary, VHD_SECTOR_BYTES, type VhdSummary } from '../formats/vhd/index.ts';
import { hasVhdxSignature, readVhdxSummary } from '../formats/vhdx/index.ts';
import { type OpenFile, openImageFile } from './open-file.ts';

/** What links a file to others: who it is and whom it names as its parent. */
export interface FileLink {
  readonly format: DiskImage['format'];
  readonly type: DiskType;
  readonly virtualSizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly virtualDiskId: string;
  /** What a child of this file records: see DiskImage. */
  readonly contentId: string;
  readonly parentReference: ParentReference | undefined;
}

/**
 * Reads a file's identity and its parent's, and nothing else of it: no block table, no parent.
 * @param isChanging another process is writing to it
 * @throws HvError `corrupt`, `unsupported`, `io`
 */
export function readLink(store: OpenFile['store'], isChanging = false): FileLink {
  if (!hasVhdxSignature(store) && hasVhdSignature(store)) return vhdLink(readVhdSummary(store));
  const { header, metadata } = readVhdxSummary(store, isChanging);
  return {
    format: 'vhdx',
    type: metadata.hasParent ? 'differencing' : metadata.leaveBlockAllocated ? 'fixed' : 'dynamic',
    virtualSizeBytes: metadata.virtualSizeBytes,
    logicalSectorSizeBytes: metadata.logicalSectorSizeBytes,
    virtualDiskId: metadata.virtualDiskId,
    contentId: header.dataWriteGuid,
    parentReference: metadata.locator,
  };
}

function vhdLink({ footer, parentReference }: VhdSummary): FileLink {
  return {
    format: 'vhd',
    type: footer.type,
    virtualSizeBytes: footer.sizeBytes,
    logicalSectorSizeBytes: VHD_SECTOR_BYTES,
    virtualDiskId: footer.uniqueId,
    contentId: footer.uniqueId,
    parentReference,
  };
}

/** Opens a file to look at it: locked against writers where possible; where one has it, without a lock. */
export function openToLook(path: string): { readonly file: OpenFile; readonly inUse: boolean } {
  try {
    return { file: openImageFile(path, { access: 'read' }), inUse: false };
  } catch (error) {
    if (!isHvError(error, 'in-use')) throw error;
    return { file: openImageFile(path, { access: 'read', lock: false }), inUse: true };
  }
}
