import { corrupt } from './corruption.ts';
import {
  NO_CLIENT,
  RESTART_AREA_AT,
  RESTART_AREA_BYTES,
  RESTART_AT,
  RESTART_MAGIC,
  RESTART_VOLUME_IS_CLEAN,
} from './format.ts';
import type { MasterFileTable, Stream } from './master-file-table.ts';
import { applyUpdateSequence } from './update-sequence.ts';

const LOOK_BYTES = 65_536;
const FIRST_PAGE_BYTES = 4096;

/** What the log says of the volume. */
export type LogState = 'clean' | 'open' | 'kept';

interface RestartPage {
  readonly currentLsn: bigint;
  readonly isClean: boolean;
  readonly major: number;
  readonly pageBytes: number;
}

/**
 * Whether the log has anything that is not in its place: `open` it may; `kept` it is of the form in which Windows keeps
 * changes to itself between a shutdown and the next start. A log of ones was emptied by a tool and is clean.
 * @throws HvError `corrupt`, `io`
 */
export function readLogState(table: MasterFileTable, stream: Stream): LogState {
  const start = table.readStream(stream, 0, Math.min(LOOK_BYTES, stream.sizeBytes));
  if (start.length > 0 && start.every((byte) => byte === 0xff)) return 'clean';
  const first = readPage(start, 0);
  const second = readPage(start, first?.pageBytes ?? FIRST_PAGE_BYTES);
  const pages = [first, second].filter((page) => page !== undefined);
  const newest = pages.reduce<RestartPage | undefined>(
    (best, page) => (!best || page.currentLsn > best.currentLsn ? page : best),
    undefined,
  );
  if (!newest) throw corrupt('log-restart', 0, start.length);
  if (newest.major !== 1) return 'kept';
  return newest.isClean ? 'clean' : 'open';
}

/** A restart page; undefined where there is none that can be trusted. */
function readPage(bytes: Uint8Array, offset: number): RestartPage | undefined {
  if (offset + FIRST_PAGE_BYTES > bytes.length) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset, bytes.length - offset);
  if (Buffer.from(bytes.subarray(offset, offset + 4)).toString('latin1') !== RESTART_MAGIC) return undefined;
  const pageBytes = view.getUint32(RESTART_AT.systemPageSize, true);
  if (pageBytes < 512 || pageBytes > LOOK_BYTES / 2 || (pageBytes & (pageBytes - 1)) !== 0) return undefined;
  if (offset + pageBytes > bytes.length) return undefined;
  const page = bytes.slice(offset, offset + pageBytes);
  applyUpdateSequence(page, RESTART_MAGIC, offset);
  const pageView = new DataView(page.buffer);
  const area = pageView.getUint16(RESTART_AT.areaOffset, true);
  if (area % 8 !== 0 || area + RESTART_AREA_BYTES > pageBytes) throw corrupt('log-restart', offset, area);
  const client = pageView.getUint16(area + RESTART_AREA_AT.clientInUse, true);
  const flags = pageView.getUint16(area + RESTART_AREA_AT.flags, true);
  return {
    currentLsn: pageView.getBigUint64(area + RESTART_AREA_AT.currentLsn, true),
    isClean: client === NO_CLIENT || (flags & RESTART_VOLUME_IS_CLEAN) !== 0,
    major: pageView.getInt16(RESTART_AT.major, true),
    pageBytes,
  };
}
