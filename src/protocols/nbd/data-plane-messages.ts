import type { Progress } from '../../async/index.ts';
import type {
  BackupPiece,
  ChangeTrackingInfo,
  DiskChanges,
  DiskFormat,
  QueryChangesOptions,
} from '../../disk/index.ts';
import type { HvErrorJson } from '../../errors/index.ts';
import type { ExportStats } from './export.ts';
import type { ListenOptions } from './server.ts';

/** What is served, and how it is opened. */
export interface AddExportOptions {
  readonly name: string;
  /** The disk's file; its parents follow from it. */
  readonly path: string;
  /** Default: what the name's ending says. */
  readonly format?: DiskFormat;
  readonly readOnly?: boolean;
  /** A block device of the host: opened raw, and for nobody else. */
  readonly isPhysical?: boolean;
  /** Folders or files outside of a child's own folder where parents may lie. */
  readonly allowParents?: readonly string[];
  /** Parents that startMerge may write to: files and folders. */
  readonly mergeable?: readonly string[];
  /** A second disk of the same size that is made and kept the same. One that cannot be opened is reported by waitMirror. */
  readonly mirrorPath?: string | undefined;
}

/** Which file of an export's chain goes into which. */
export interface StartMergeOptions {
  readonly name: string;
  readonly path: string;
  /** Must be the parent of that. */
  readonly parentPath: string;
}

export interface StartedMerge {
  /** The disk itself is merged: which file it is from now on is decided between closeMerge and commitMerge. */
  readonly isLeaf: boolean;
}

export interface AddedExport {
  readonly sizeBytes: number;
  /** The files of the chain, the leaf first. */
  readonly layers: readonly string[];
}

/** A moment of a disk that is held for a backup, offered read-only under a name of its own. */
export interface BegunBackup {
  readonly exportName: string;
  readonly changeTrackingId: string;
  readonly sizeBytes: number;
  readonly logicalSectorSizeBytes: number;
  readonly physicalSectorSizeBytes: number;
  readonly pieceCount: number;
}

/** Every call across the thread boundary: what goes over and what comes back. */
export interface DataPlaneCalls {
  readonly addExport: { readonly arguments: AddExportOptions; readonly result: AddedExport };
  readonly removeExport: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly listen: {
    readonly arguments: { readonly socketPath: string; readonly options: ListenOptions };
    readonly result: null;
  };
  readonly prepareChild: {
    readonly arguments: { readonly name: string; readonly childPath: string };
    readonly result: null;
  };
  readonly commitChild: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly abandonChild: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly startMerge: { readonly arguments: StartMergeOptions; readonly result: StartedMerge };
  readonly closeMerge: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly commitMerge: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly reopenMerge: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly abandonMerge: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly waitMirror: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly closeMirror: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly reopenMirror: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly switchToMirror: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly endMirror: { readonly arguments: { readonly name: string }; readonly result: null };
  readonly flush: { readonly arguments: { readonly name: string | undefined }; readonly result: null };
  readonly changeTracking: {
    readonly arguments: { readonly name: string; readonly change: 'enable' | 'disable' | null };
    readonly result: ChangeTrackingInfo;
  };
  readonly takeReferencePoint: { readonly arguments: { readonly name: string }; readonly result: string };
  readonly queryChanges: {
    readonly arguments: { readonly name: string; readonly sinceId: string; readonly options: QueryChangesOptions };
    readonly result: DiskChanges;
  };
  readonly beginBackup: {
    readonly arguments: {
      readonly name: string;
      readonly sinceId: string | undefined;
      readonly scratchFolder: string;
    };
    readonly result: BegunBackup;
  };
  readonly backupPieces: {
    readonly arguments: { readonly exportName: string; readonly first: number; readonly count: number };
    readonly result: readonly BackupPiece[];
  };
  readonly endBackup: { readonly arguments: { readonly exportName: string }; readonly result: null };
  readonly stats: { readonly arguments: null; readonly result: Record<string, ExportStats> };
  /** Cancels the call of that number, which then fails with `aborted`. */
  readonly cancel: { readonly arguments: { readonly id: number }; readonly result: null };
  readonly close: { readonly arguments: null; readonly result: null };
}

export type DataPlaneCallName = keyof DataPlaneCalls;

/** To the thread. */
export type DataPlaneRequest = {
  readonly [Name in DataPlaneCallName]: {
    readonly id: number;
    readonly call: Name;
    readonly arguments: DataPlaneCalls[Name]['arguments'];
  };
}[DataPlaneCallName];

/** From the thread. */
export type DataPlaneReport =
  /** Everything is loaded; the process may give up its privileges. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'progress'; readonly id: number; readonly progress: Progress }
  | { readonly kind: 'result'; readonly id: number; readonly result: unknown }
  | { readonly kind: 'error'; readonly id: number; readonly error: HvErrorJson };
