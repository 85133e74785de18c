import type { LongOptions } from '../async/index.ts';
import type {
  GuestCopyOptions,
  GuestCopyResult,
  GuestExecOptions,
  GuestExecResult,
  GuestInfo,
  KeyValuePair,
} from '../model/index.ts';

/**
 * What is asked of a guest through its integration services or agent. Whatever needs the agent fails with `invalid-state`
 * when the machine does not run or no agent runs in it, `unsupported` when its agent lacks or forbids the command,
 * `timeout` when it does not answer, `guest-failed` when it refuses.
 */
export interface GuestService {
  /** The guest's agent answers now. Windows: Msvm_HeartbeatComponent.OperationalStatus. */
  heartbeat(vmId: string): Promise<boolean>;

  /** Addresses as the guest reports them, loopback and link-local left out. Windows: Msvm_GuestNetworkAdapterConfiguration.IPAddresses. */
  ipAddresses(vmId: string): Promise<readonly { readonly macAddress: string; readonly addresses: readonly string[] }[]>;

  /** Windows: Msvm_KvpExchangeComponent.GuestIntrinsicExchangeItems. */
  info(vmId: string, options?: Pick<LongOptions, 'signal'>): Promise<GuestInfo>;

  /**
   * Runs a program, without a shell, and waits for its end. An abort kills it. Windows: PowerShell Direct's
   * Msvm_GuestServiceInterfaceComponent has no counterpart; a Hyper-V socket carries it.
   * @throws `invalid-argument`; `timeout` after `timeoutMs`
   */
  exec(
    vmId: string,
    program: string,
    args: readonly string[],
    options?: GuestExecOptions & Pick<LongOptions, 'signal'>,
  ): Promise<GuestExecResult>;

  /**
   * Copies a file of this host into the guest and verifies it there; a failure or an abort leaves the target as it was.
   * Windows: Msvm_GuestFileService.CopyFilesToGuest.
   * @throws `not-found`, `already-exists`, `invalid-argument` (not a file), `corrupt` (it arrived changed)
   */
  copyTo(
    vmId: string,
    sourcePath: string,
    targetPath: string,
    options?: GuestCopyOptions & LongOptions,
  ): Promise<GuestCopyResult>;

  /** The other way; Hyper-V has none. @throws as `copyTo` */
  copyFrom(
    vmId: string,
    sourcePath: string,
    targetPath: string,
    options?: GuestCopyOptions & LongOptions,
  ): Promise<GuestCopyResult>;

  /**
   * Sets the guest's clock to this host's; done without being asked after a resume and a restore. Says by how much it
   * was wrong. Windows: Msvm_TimeSyncComponent.
   */
  setTime(vmId: string): Promise<{ readonly offsetMs: number }>;

  /** What the host has set, and what the guest has said where it runs. Windows: Msvm_KvpExchangeComponent. */
  keyValuePairs(vmId: string): Promise<readonly KeyValuePair[]>;

  /**
   * Kept in the definition, and given to the guest when its agent runs, now or later.
   * Windows: AddKvpItems, ModifyKvpItems. @throws `invalid-argument`
   */
  setKeyValuePair(vmId: string, key: string, value: string): Promise<void>;

  /** Windows: RemoveKvpItems. @throws `not-found` */
  deleteKeyValuePair(vmId: string, key: string): Promise<void>;
}
