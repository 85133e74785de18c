import { constants, openSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { randomGuid } from '../binary/index.ts';
import { fromSystemError, HvError } from '../errors/index.ts';
import { FileStore } from '../store/index.ts';
import { type BackupPiece, piecesOf } from './backup.ts';
import type { DiskChain } from './disk-chain.ts';
import { FrozenView } from './frozen-view.ts';

/** A moment of an open disk that is being written to, held for a backup. */
export interface LiveBackup {
  readonly view: FrozenView;
  /** The id that names the moment. */
  readonly changeTrackingId: string;
  readonly pieces: readonly BackupPiece[];
  /** Lets the disk go on alone. */
  end(): Promise<void>;
}

/**
 * Holds the present moment of a disk for a backup. Everything from the id to the view happens at once: no write lies
 * between. The disk must be flushed shortly before, so that it is held up for little.
 * @param scratchFolder where bytes that are overwritten meanwhile are put; the file has no name there
 * @throws HvError `in-use` (a backup is under way), `invalid-state`, `not-found` (the id), `no-space`, `io`
 */
export function beginLiveBackup(disk: DiskChain, sinceId: string | undefined, scratchFolder: string): LiveBackup {
  const scratch = openScratch(scratchFolder);
  try {
    const query = { takeReferencePoint: true, maxRanges: Number.MAX_SAFE_INTEGER };
    const changes = sinceId === undefined ? undefined : disk.queryChanges(sinceId, query);
    const changeTrackingId = changes?.referencePointId ?? disk.takeReferencePoint();
    const pieces = [...piecesOf(disk, changes?.ranges)];
    const view = new FrozenView(
      disk,
      scratch,
      pieces.filter(({ isZero }) => !isZero),
    );
    disk.freeze(view);
    return {
      view,
      changeTrackingId,
      pieces,
      end: async () => {
        disk.thaw();
        await view.close();
      },
    };
  } catch (error) {
    scratch.close();
    throw error;
  }
}

function openScratch(folder: string): FileStore {
  const path = join(folder, `.${randomGuid()}.hv-scratch`);
  try {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
    const fd = openSync(path, flags, 0o600);
    unlinkSync(path);
    return new FileStore(fd, path, { readOnly: false });
  } catch (error) {
    if (error instanceof HvError) throw error;
    throw fromSystemError(error, `could not make a file in ${folder}`, { path: folder });
  }
}
