/** What a guest says about itself through its agent; null: it does not say (Msvm_KvpExchangeComponent.GuestIntrinsicExchangeItems). */
export interface GuestInfo {
  readonly agentVersion: string;
  /** What its agent lets hv do. */
  readonly capabilities: GuestCapabilities;
  readonly hostName: string | null;
  readonly operatingSystem: {
    /** As in os-release: `debian`, `mswindows`. */
    readonly id: string | null;
    readonly name: string | null;
    readonly version: string | null;
    readonly kernelRelease: string | null;
    readonly machine: string | null;
  };
  /** ISO 8601, UTC. */
  readonly time: string | null;
  readonly timeZone: { readonly name: string | null; readonly offsetSeconds: number } | null;
  readonly users: readonly { readonly user: string; readonly domain: string | null; readonly loginTime: string }[];
  /** Those that lie on disks. */
  readonly fileSystems: readonly GuestFileSystem[];
}

export interface GuestFileSystem {
  readonly device: string;
  readonly mountPoint: string;
  readonly type: string;
  readonly usedBytes: number | null;
  readonly totalBytes: number | null;
}

export interface GuestCapabilities {
  readonly exec: boolean;
  readonly fileTransfer: boolean;
  readonly setTime: boolean;
  readonly freezeFileSystems: boolean;
  readonly shutdown: boolean;
}

export interface GuestExecOptions {
  /** The program's standard input, which is then closed; none when absent. */
  readonly input?: Uint8Array | AsyncIterable<Uint8Array>;
  /** Added to the environment that the agent has. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Absolute, in the guest. */
  readonly workingDirectory?: string;
  /** The program is killed when it still runs then. Default: it may run as long as it likes. */
  readonly timeoutMs?: number;
}

/** How a program in a guest ended. What it printed is the guest's: hostile bytes. */
export interface GuestExecResult {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: number | null;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /** It printed more than 16 MiB to one of them; the rest is lost. */
  readonly truncated: boolean;
}

export interface GuestCopyOptions {
  /** Replace the target where it exists. */
  readonly force?: boolean;
}

export interface GuestCopyResult {
  /** Where the file is now. */
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** `hash`: the guest computed the same SHA-256; `read-back`: the guest's file was read once more. */
  readonly verifiedBy: 'hash' | 'read-back';
}

/** A name and a value that host and guest exchange, and who said it (Msvm_KvpExchangeDataItem). */
export interface KeyValuePair {
  readonly source: 'host' | 'guest';
  readonly key: string;
  readonly value: string;
}
