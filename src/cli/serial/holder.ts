import { constants } from 'node:fs';
import { open, readFile, rm, writeFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { HvError } from '../../errors/index.ts';
import { terminalLine } from '../output/terminal-text.ts';

const MAX_NOTE_BYTES = 1024;
/** SS_CONNECTED in the St column of /proc/net/unix. */
const CONNECTED = '03';

/**
 * A serial port has one client at a time, and a second one would wait without a word: so the kernel's list of sockets is
 * asked first. Who the client is stands in a note beside the socket, which only hv's own consoles write.
 * @throws HvError `in-use`
 */
export async function refuseWhenHeld(socketPath: string, vmName: string): Promise<void> {
  if (!(await isConnected(socketPath))) return;
  const holder = await readNote(socketPath);
  throw new HvError('in-use', `the console of "${vmName}" is in use by ${holder ?? 'another program'}`, {
    detail: { vm: vmName, path: socketPath, holder: holder ?? null },
    hint: 'A serial port has one client at a time; `hv vm logs --follow` shows what it says meanwhile.',
  });
}

async function isConnected(socketPath: string): Promise<boolean> {
  let table: string;
  try {
    table = await readFile('/proc/net/unix', 'utf8');
  } catch {
    return false; // no such list on this system: the connection itself will tell
  }
  // Num RefCount Protocol Flags Type St Inode Path
  return table.split('\n').some((line) => {
    const [, , , , , state, , ...path] = line.split(' ').filter((cell) => cell !== '');
    return state === CONNECTED && path.join(' ') === socketPath;
  });
}

/** Leaves the note; gone again when what it returns is called. A note that cannot be left is no reason to fail. */
export async function leaveNote(socketPath: string): Promise<() => Promise<void>> {
  const path = noteOf(socketPath);
  const remove = (): Promise<void> => rm(path, { force: true }).catch(() => {});
  await remove();
  try {
    // Exclusive, so that no link which the machine's own user may have planted is followed.
    await writeFile(path, `process ${process.pid} of ${userInfo().username}`, { flag: 'wx', mode: 0o600 });
  } catch {
    return async () => {};
  }
  return remove;
}

async function readNote(socketPath: string): Promise<string | undefined> {
  try {
    await using file = await open(noteOf(socketPath), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    const stat = await file.stat();
    if (!stat.isFile() || stat.size > MAX_NOTE_BYTES) return undefined;
    return terminalLine(await file.readFile('utf8')).slice(0, 200);
  } catch {
    return undefined;
  }
}

function noteOf(socketPath: string): string {
  return `${socketPath}.client`;
}
