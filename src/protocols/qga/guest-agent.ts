import { HvError } from '../../errors/index.ts';
import type { JsonObject } from '../json-lines.ts';
import { execInGuest, type GuestExecOptions, type GuestExecResult } from './exec.ts';
import { FILE_PIECE_BYTES, GuestFile } from './guest-file.ts';
import type {
  GuestAgentInfo,
  GuestFilesystem,
  GuestNetworkInterface,
  GuestOsInfo,
  GuestTimeZone,
  GuestUser,
} from './replies.ts';
import * as replies from './replies.ts';

export interface GuestAgentCallOptions {
  /** How long one command may take, its wait behind other commands included. Default 10,000. */
  readonly timeoutMs?: number | undefined;
  /** An abort stops the waiting; a command that the agent has already may be carried out nevertheless. */
  readonly signal?: AbortSignal | undefined;
}

export interface GuestAgentCall extends GuestAgentCallOptions {
  /** Longest answer. */
  readonly maxReplyBytes?: number | undefined;
  /** For a command that is answered only when it fails: no answer within this time is a success. */
  readonly silenceMs?: number | undefined;
}

/** A shutdown that works is never answered; one that cannot even begin is refused within this time. */
const REFUSAL_GRACE_MS = 1500;

/**
 * The commands of the QEMU guest agent (QEMU qga/qapi-schema.json), over whatever carries one command and its answer.
 * The guest is hostile: everything that it says is bounded, validated, and its text is without control characters.
 */
export abstract class GuestAgent {
  /**
   * Runs one command. The answer is the guest's and unvalidated.
   *
   * @throws HvError `timeout` (no agent, or a busy one), `unsupported` (it lacks the command), `guest-failed` (it refused;
   *   detail {class, command}), `protocol`, `io`, `aborted`
   */
  abstract call(command: string, args?: JsonObject, options?: GuestAgentCall): Promise<unknown>;

  /** Returns when an agent answers. */
  async ping(options: GuestAgentCallOptions = {}): Promise<void> {
    await this.call('guest-ping', {}, options);
  }

  async info(options: GuestAgentCallOptions = {}): Promise<GuestAgentInfo> {
    return replies.parseReply(replies.infoReply, await this.call('guest-info', {}, options), 'guest-info');
  }

  /**
   * Has the guest's own shutdown program end or restart it. Returns once the agent has taken the command and not refused
   * it: the end itself shows in QEMU's events.
   */
  async shutdown(
    mode: 'powerdown' | 'halt' | 'reboot' = 'powerdown',
    options: GuestAgentCallOptions = {},
  ): Promise<void> {
    await this.call('guest-shutdown', { mode }, { ...options, silenceMs: REFUSAL_GRACE_MS });
  }

  async networkInterfaces(options: GuestAgentCallOptions = {}): Promise<readonly GuestNetworkInterface[]> {
    const command = 'guest-network-get-interfaces';
    return replies.parseReply(replies.networkInterfacesReply, await this.call(command, {}, options), command);
  }

  async osInfo(options: GuestAgentCallOptions = {}): Promise<GuestOsInfo> {
    return replies.parseReply(
      replies.osInfoReply,
      await this.call('guest-get-osinfo', {}, options),
      'guest-get-osinfo',
    );
  }

  async hostName(options: GuestAgentCallOptions = {}): Promise<string> {
    const command = 'guest-get-host-name';
    return replies.parseReply(replies.hostNameReply, await this.call(command, {}, options), command);
  }

  /** The guest's clock in milliseconds since 1970. */
  async time(options: GuestAgentCallOptions = {}): Promise<number> {
    return replies.parseReply(replies.timeReply, await this.call('guest-get-time', {}, options), 'guest-get-time');
  }

  /** Freezes the guest's file systems and returns how many. Whoever calls it must call `thawFilesystems`, also after a failure. */
  async freezeFilesystems(options: GuestAgentCallOptions = {}): Promise<number> {
    const command = 'guest-fsfreeze-freeze';
    return replies.parseReply(replies.countReply, await this.call(command, {}, options), command);
  }

  async thawFilesystems(options: GuestAgentCallOptions = {}): Promise<number> {
    const command = 'guest-fsfreeze-thaw';
    return replies.parseReply(replies.countReply, await this.call(command, {}, options), command);
  }

  async filesystemState(options: GuestAgentCallOptions = {}): Promise<'thawed' | 'frozen'> {
    const command = 'guest-fsfreeze-status';
    return replies.parseReply(replies.freezeStatusReply, await this.call(command, {}, options), command);
  }

  /** Runs `work` while the guest's file systems are frozen; they are thawed whatever happens, also after a freeze in doubt. */
  async withFrozenFilesystems<T>(work: () => Promise<T>, options: GuestAgentCallOptions = {}): Promise<T> {
    // An abort must not stop the thaw.
    const thawOptions = { timeoutMs: options.timeoutMs };
    let result: T;
    try {
      await this.freezeFilesystems(options);
      result = await work();
    } catch (error) {
      await this.thawFilesystems(thawOptions).catch(() => {}); // the first failure is the one to report
      throw error;
    }
    await this.thawFilesystems(thawOptions);
    return result;
  }

  /** Who is logged in. */
  async users(options: GuestAgentCallOptions = {}): Promise<readonly GuestUser[]> {
    const command = 'guest-get-users';
    return replies.parseReply(replies.usersReply, await this.call(command, {}, options), command);
  }

  /** The mounted file systems that lie on disks. */
  async filesystems(options: GuestAgentCallOptions = {}): Promise<readonly GuestFilesystem[]> {
    const command = 'guest-get-fsinfo';
    return replies.parseReply(replies.filesystemsReply, await this.call(command, {}, options), command);
  }

  async timeZone(options: GuestAgentCallOptions = {}): Promise<GuestTimeZone> {
    const command = 'guest-get-timezone';
    return replies.parseReply(replies.timeZoneReply, await this.call(command, {}, options), command);
  }

  /** Sets the guest's clock, milliseconds since 1970; Linux agents then write it to the hardware clock too. */
  async setTime(timeMs: number, options: GuestAgentCallOptions = {}): Promise<void> {
    // As a whole number of nanoseconds beyond 2 ** 53, exact because its last six digits are zeros of a power of ten.
    await this.call('guest-set-time', { time: Math.round(timeMs) * 1e6 }, options);
  }

  /** Runs a program in the guest (no shell) and waits for its end. @throws HvError as `execInGuest` */
  exec(path: string, args: readonly string[] = [], options: GuestExecOptions = {}): Promise<GuestExecResult> {
    return execInGuest(this, path, args, options);
  }

  /**
   * Reads a file of the guest.
   *
   * @throws HvError as `call` (`timeoutMs` counts for each piece); `protocol` when it is larger than `maxBytes`
   *   (default 16 MiB) or the pieces do not have the lengths that the agent claims
   */
  async fileRead(
    path: string,
    options: GuestAgentCallOptions & { readonly maxBytes?: number | undefined } = {},
  ): Promise<Buffer> {
    const { maxBytes = 16 * 2 ** 20, ...call } = options;
    return await GuestFile.using(this, path, 'r', call, async (file) => {
      const pieces: Buffer[] = [];
      let sizeBytes = 0;
      for (;;) {
        const { bytes, isEnd } = await file.read();
        sizeBytes += bytes.length;
        if (sizeBytes > maxBytes) {
          throw new HvError('protocol', `the guest's file is larger than ${maxBytes} bytes`, { detail: { maxBytes } });
        }
        pieces.push(bytes);
        if (isEnd) return Buffer.concat(pieces, sizeBytes);
      }
    });
  }

  /**
   * Writes a file in the guest, replacing it, or at its end with `isAppended`. Not atomic; verify what matters by reading
   * it back.
   *
   * @throws HvError as `call` (`timeoutMs` counts for each piece)
   */
  async fileWrite(
    path: string,
    bytes: Uint8Array,
    options: GuestAgentCallOptions & { readonly isAppended?: boolean | undefined } = {},
  ): Promise<void> {
    const { isAppended = false, ...call } = options;
    await GuestFile.using(this, path, isAppended ? 'a' : 'w', call, async (file) => {
      for (let at = 0; at < bytes.length; at += FILE_PIECE_BYTES) {
        await file.write(bytes.subarray(at, at + FILE_PIECE_BYTES));
      }
      await file.flush();
    });
  }
}
