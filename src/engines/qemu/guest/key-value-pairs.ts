import { HvError } from '../../../errors/index.ts';
import { isPairKey, MAX_PAIRS, MAX_VALUE_BYTES } from '../../../model/index.ts';
import { type GuestAgent, printableGuestText } from '../../../protocols/qga/index.ts';
import { shell } from './exec.ts';

/**
 * Key-value pairs in a guest: two files of lines `key=value` in this folder. `host` is written by hv, `guest` by whoever
 * has something to say in the guest.
 */
const FOLDER = '/var/lib/hv/kvp';
const MAX_FILE_BYTES = 128 * 1024;
const TIMEOUT_MS = 15_000;

/** Replaces what the guest finds, at once. */
export async function givePairs(agent: GuestAgent, pairs: Readonly<Record<string, string>>): Promise<void> {
  const lines = Object.entries(pairs).map(([key, value]) => `${key}=${value}\n`);
  const script = 'umask 022 && mkdir -p "$0" && cat >"$0/.host.new" && mv -f "$0/.host.new" "$0/host"';
  const [program = '', ...args] = shell(script, FOLDER);
  const { exitCode, errorOutput } = await agent.exec(program, args, { input: lines.join(''), timeoutMs: TIMEOUT_MS });
  if (exitCode !== 0) {
    throw new HvError('guest-failed', `the guest could not write ${FOLDER}/host`, {
      detail: { stderr: printableGuestText(errorOutput.toString('utf8')) },
    });
  }
}

/** What the guest says; lines that are none are left out. @throws HvError `protocol` when it says too much */
export async function takePairs(agent: GuestAgent): Promise<readonly (readonly [key: string, value: string])[]> {
  const script = `[ ! -f "$0/guest" ] || head -c ${MAX_FILE_BYTES + 1} "$0/guest"`;
  const [program = '', ...args] = shell(script, FOLDER);
  const { output } = await agent.exec(program, args, { timeoutMs: TIMEOUT_MS, maxOutputBytes: 2 * MAX_FILE_BYTES });
  const lines = output.toString('utf8').split('\n');
  if (output.length > MAX_FILE_BYTES || lines.length > MAX_PAIRS + 1) {
    throw new HvError('protocol', `the guest says more than ${MAX_PAIRS} pairs in ${FOLDER}/guest`, {
      detail: { maxPairs: MAX_PAIRS, maxBytes: MAX_FILE_BYTES },
    });
  }
  const found = new Map<string, string>();
  for (const line of lines) {
    const at = line.indexOf('=');
    const key = line.slice(0, Math.max(0, at));
    if (isPairKey(key)) found.set(key, printableGuestText(line.slice(at + 1), { maxLength: MAX_VALUE_BYTES }));
  }
  return [...found];
}
