import type { LongOptions } from '../../async/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { CheckFinding, CheckResult } from '../check-finding.ts';
import { FindingList } from '../finding-list.ts';
import { checkHeaders, checkLog, checkMetadata, checkRegions } from './check-structures.ts';
import { checkTable } from './check-table.ts';
import { BAT_ENTRY_BYTES, REGION_TABLE_BYTES, REGION_TABLE_OFFSETS } from './format.ts';
import type { CurrentHeader } from './header.ts';
import { HeaderPair } from './journal.ts';

export interface CheckVhdxOptions extends LongOptions {
  /** Set right what the file itself proves. The store must be writable. */
  readonly repair?: boolean | undefined;
  /** Names this run of the host: see LogWriter on unsynced entries. */
  readonly hostRun?: string | undefined;
}

/**
 * Checks every rule of the format, on files too that are refused when they are opened; each finding with its place and
 * the value seen. A check that cannot go on says so and ends, so that a damaged header hides what lies behind it.
 *
 * A repair does what the file proves: replays the log, rewrites a damaged copy of a header or a region table from the
 * whole one, clears reserved bits of the block allocation table, lengthens the file to the end of an empty log. It never
 * throws contents away and never guesses. `repaired` are findings that a second check no longer has.
 *
 * Source: [MS-VHDX] 2.1 to 2.6. Memory is bounded by the file's length, a bit for each MiB in use.
 * @throws HvError `io`, `no-space`, `aborted`, `permission-denied` (repair of a read-only store)
 */
export async function checkVhdx(store: ByteStore, options: CheckVhdxOptions = {}): Promise<CheckResult> {
  const before = await check(store, options);
  const first = { findings: before.list.findings, moreFindings: before.list.moreFindings, repaired: [] };
  if (!options.repair || !first.findings.some(({ repair }) => repair === 'possible')) return first;
  repair(store, before, options.hostRun);
  // What the log carried may have shown more in its place than in memory.
  const again = await check(store, options);
  if (again.reserved.length > 0) clearReserved(store, again.reserved);
  const after = again.reserved.length > 0 ? await check(store, options) : again;
  const left = new Set(after.list.findings.map(identityOf));
  return {
    ...first,
    repaired: first.findings.filter((finding) => finding.repair === 'possible' && !left.has(identityOf(finding))),
  };
}

function identityOf({ code, offsetBytes }: CheckFinding): string {
  return `${code}@${offsetBytes}`;
}

interface Checked {
  readonly list: FindingList;
  readonly current: CurrentHeader | undefined;
  readonly reserved: readonly number[];
}

async function check(store: ByteStore, options: CheckVhdxOptions): Promise<Checked> {
  const list = new FindingList();
  const current = checkHeaders(store, list);
  const nothing = { list, current, reserved: [] };
  if (!current) return nothing;
  const view = checkLog(store, current.header, list, options.hostRun);
  if (!view) return nothing;
  const regions = checkRegions(view, current.header, list);
  if (!regions) return nothing;
  const metadata = checkMetadata(view, regions.metadata, list);
  if (!metadata) return nothing;
  const { reserved } = await checkTable(view, current.header, regions, metadata, list, options);
  return { list, current, reserved };
}

function repair(store: ByteStore, { list, current }: Checked, hostRun: string | undefined): void {
  if (!current) return;
  const codes = new Set(list.findings.filter((each) => each.repair === 'possible').map(({ code }) => code));
  const headers = new HeaderPair(store, current);
  // Whoever changes the file says so first; that writes both headers anew, the damaged one before the other.
  for (const _flush of headers.update({})) store.flushSync();
  if (codes.has('log-beyond-end')) {
    const end = current.header.logOffset + current.header.logLength;
    if (store.size() < end) store.setSize(end);
    store.flushSync();
  }
  if (codes.has('log-in-use')) for (const _flush of headers.replay(hostRun)) store.flushSync();
  if (codes.has('region-table-copy-damaged')) copyRegionTable(store, list);
  store.flushSync();
}

function copyRegionTable(store: ByteStore, list: FindingList): void {
  const damaged = list.findings.find(({ code }) => code === 'region-table-copy-damaged')?.offsetBytes;
  const whole = REGION_TABLE_OFFSETS.find((offset) => offset !== damaged);
  if (damaged === undefined || damaged === null || whole === undefined) return;
  const bytes = new Uint8Array(REGION_TABLE_BYTES);
  store.read(whole, bytes, 0, bytes.length);
  store.write(damaged, bytes, 0, bytes.length);
}

function clearReserved(store: ByteStore, places: readonly number[]): void {
  const bytes = new Uint8Array(BAT_ENTRY_BYTES);
  const words = new Uint32Array(bytes.buffer);
  for (const place of places) {
    store.read(place, bytes, 0, bytes.length);
    words[0] = ((words[0] ?? 0) & ~0xffff8) >>> 0;
    store.write(place, bytes, 0, bytes.length);
  }
  store.flushSync();
}
