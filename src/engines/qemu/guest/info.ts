import { isHvError } from '../../../errors/index.ts';
import type { GuestInfo } from '../../../model/index.ts';
import type { GuestAgent } from '../../../protocols/qga/index.ts';

/** Asks the guest's agent everything that it can say about the guest; what it cannot is null. */
export async function guestInfo(agent: GuestAgent, signal: AbortSignal | undefined): Promise<GuestInfo> {
  const { version, commands } = await agent.info({ signal });
  const ifKnown = async <T>(command: string, ask: () => Promise<T>): Promise<T | null> => {
    if (!commands.includes(command)) return null;
    try {
      return await ask();
    } catch (error) {
      if (isHvError(error, 'guest-failed')) return null; // this guest lacks what the command looks at
      throw error;
    }
  };
  const has = (...names: readonly string[]): boolean => names.every((name) => commands.includes(name));
  const os = await ifKnown('guest-get-osinfo', () => agent.osInfo({ signal }));
  const time = await ifKnown('guest-get-time', () => agent.time({ signal }));
  return {
    agentVersion: version,
    capabilities: {
      exec: has('guest-exec', 'guest-exec-status'),
      fileTransfer: has('guest-file-open', 'guest-file-read', 'guest-file-write', 'guest-file-close'),
      setTime: has('guest-set-time'),
      freezeFileSystems: has('guest-fsfreeze-freeze', 'guest-fsfreeze-thaw'),
      shutdown: has('guest-shutdown'),
    },
    hostName: await ifKnown('guest-get-host-name', () => agent.hostName({ signal })),
    operatingSystem: {
      id: os?.id ?? null,
      name: os?.prettyName ?? os?.name ?? null,
      version: os?.version ?? null,
      kernelRelease: os?.kernelRelease ?? null,
      machine: os?.machine ?? null,
    },
    time: time === null ? null : new Date(time).toISOString(),
    timeZone: await ifKnown('guest-get-timezone', () => agent.timeZone({ signal })),
    users: (await ifKnown('guest-get-users', () => agent.users({ signal }))) ?? [],
    fileSystems: (await ifKnown('guest-get-fsinfo', () => agent.filesystems({ signal }))) ?? [],
  };
}
