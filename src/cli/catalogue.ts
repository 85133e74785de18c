import type { CommandDefinition } from './definition.ts';

type Load = () => Promise<{ readonly command: CommandDefinition }>;

/** Verb to module; a module is loaded when its command runs, or when help lists it. */
export type Verbs = Readonly<Record<string, Load>>;

export interface Noun {
  readonly name: string;
  readonly summary: string;
  readonly verbs: Verbs;
  /** Verbs behind a second noun, as in `hv vhd metadata list`: that word to them. */
  readonly groups?: Readonly<Record<string, VerbGroup>>;
}

export interface VerbGroup {
  readonly summary: string;
  readonly verbs: Verbs;
}

/** A command without a noun. */
export interface LoneCommand {
  readonly name: string;
  readonly summary: string;
  readonly load: Load;
}

export const NOUNS: readonly Noun[] = [
  {
    name: 'host',
    summary: 'This host: what it offers, and its default paths',
    verbs: {
      info: () => import('./commands/host/info.ts'),
      set: () => import('./commands/host/set.ts'),
    },
  },
  {
    name: 'vm',
    summary: 'Virtual machines',
    verbs: {
      list: () => import('./commands/vm/list.ts'),
      info: () => import('./commands/vm/info.ts'),
      create: () => import('./commands/vm/create.ts'),
      start: () => import('./commands/vm/start.ts'),
      stop: () => import('./commands/vm/stop.ts'),
      'force-stop': () => import('./commands/vm/force-stop.ts'),
      pause: () => import('./commands/vm/pause.ts'),
      resume: () => import('./commands/vm/resume.ts'),
      save: () => import('./commands/vm/save.ts'),
      reset: () => import('./commands/vm/reset.ts'),
      delete: () => import('./commands/vm/delete.ts'),
      rename: () => import('./commands/vm/rename.ts'),
      set: () => import('./commands/vm/set.ts'),
      logs: () => import('./commands/vm/logs.ts'),
      console: () => import('./commands/vm/console.ts'),
      screenshot: () => import('./commands/vm/screenshot.ts'),
      type: () => import('./commands/vm/type.ts'),
      key: () => import('./commands/vm/key.ts'),
      wait: () => import('./commands/vm/wait.ts'),
      measure: () => import('./commands/vm/measure.ts'),
    },
  },
  {
    name: 'guest',
    summary: "A running machine's guest, through its agent",
    verbs: {
      exec: () => import('./commands/guest/exec.ts'),
      copy: () => import('./commands/guest/copy.ts'),
      info: () => import('./commands/guest/info.ts'),
      ip: () => import('./commands/guest/ip.ts'),
      'set-time': () => import('./commands/guest/set-time.ts'),
    },
    groups: {
      kvp: {
        summary: 'Key-value pairs that host and guest tell each other',
        verbs: {
          list: () => import('./commands/guest/kvp/list.ts'),
          get: () => import('./commands/guest/kvp/get.ts'),
          set: () => import('./commands/guest/kvp/set.ts'),
          delete: () => import('./commands/guest/kvp/delete.ts'),
        },
      },
    },
  },
  {
    name: 'snapshot',
    summary: 'Snapshots of a machine: its disks, settings and memory at one moment',
    verbs: {
      list: () => import('./commands/snapshot/list.ts'),
      create: () => import('./commands/snapshot/create.ts'),
      apply: () => import('./commands/snapshot/apply.ts'),
      delete: () => import('./commands/snapshot/delete.ts'),
    },
  },
  {
    name: 'disk',
    summary: 'Hard disk drives of machines',
    verbs: {
      list: () => import('./commands/disk/list.ts'),
      add: () => import('./commands/disk/add.ts'),
      remove: () => import('./commands/disk/remove.ts'),
      set: () => import('./commands/disk/set.ts'),
      'add-controller': () => import('./commands/disk/add-controller.ts'),
      'remove-controller': () => import('./commands/disk/remove-controller.ts'),
    },
  },
  {
    name: 'dvd',
    summary: 'DVD drives of machines, and the images in them',
    verbs: {
      list: () => import('./commands/dvd/list.ts'),
      add: () => import('./commands/dvd/add.ts'),
      remove: () => import('./commands/dvd/remove.ts'),
      mount: () => import('./commands/dvd/mount.ts'),
      eject: () => import('./commands/dvd/eject.ts'),
    },
  },
  {
    name: 'vhd',
    summary: 'Virtual hard disk files',
    verbs: {
      create: () => import('./commands/vhd/create.ts'),
      info: () => import('./commands/vhd/info.ts'),
      set: () => import('./commands/vhd/set.ts'),
      check: () => import('./commands/vhd/check.ts'),
      resize: () => import('./commands/vhd/resize.ts'),
      compact: () => import('./commands/vhd/compact.ts'),
      serve: () => import('./commands/vhd/serve.ts'),
      dependencies: () => import('./commands/vhd/dependencies.ts'),
      convert: () => import('./commands/vhd/convert.ts'),
      compare: () => import('./commands/vhd/compare.ts'),
      map: () => import('./commands/vhd/map.ts'),
      hash: () => import('./commands/vhd/hash.ts'),
      scsi: () => import('./commands/vhd/scsi.ts'),
      fork: () => import('./commands/vhd/fork.ts'),
      mount: () => import('./commands/vhd/mount.ts'),
      dismount: () => import('./commands/vhd/dismount.ts'),
      'list-attached': () => import('./commands/vhd/list-attached.ts'),
      merge: () => import('./commands/vhd/merge.ts'),
      mirror: () => import('./commands/vhd/mirror.ts'),
      'break-mirror': () => import('./commands/vhd/break-mirror.ts'),
      'set-parent': () => import('./commands/vhd/set-parent.ts'),
      changes: () => import('./commands/vhd/changes.ts'),
      backup: () => import('./commands/vhd/backup.ts'),
    },
    groups: {
      tracking: {
        summary: 'Changed block tracking: what a backup asks for',
        verbs: {
          status: () => import('./commands/vhd/tracking/status.ts'),
          enable: () => import('./commands/vhd/tracking/enable.ts'),
          disable: () => import('./commands/vhd/tracking/disable.ts'),
        },
      },
      metadata: {
        summary: 'Data of your own that a VHDX file carries beside the disk',
        verbs: {
          list: () => import('./commands/vhd/metadata/list.ts'),
          get: () => import('./commands/vhd/metadata/get.ts'),
          set: () => import('./commands/vhd/metadata/set.ts'),
          delete: () => import('./commands/vhd/metadata/delete.ts'),
        },
      },
    },
  },
  {
    name: 'vhdset',
    summary: 'VHD Sets: disks with snapshots of their own',
    verbs: {
      create: () => import('./commands/vhdset/create.ts'),
      info: () => import('./commands/vhdset/info.ts'),
      snapshot: () => import('./commands/vhdset/snapshot.ts'),
      apply: () => import('./commands/vhdset/apply.ts'),
      delete: () => import('./commands/vhdset/delete.ts'),
      modify: () => import('./commands/vhdset/modify.ts'),
      optimize: () => import('./commands/vhdset/optimize.ts'),
    },
  },
  {
    name: 'template',
    summary: 'Bootable disks to start machines from',
    verbs: {
      'build-linux': () => import('./commands/template/build-linux.ts'),
    },
  },
];

/** A command by its words, for whoever goes through all of them. */
export interface CatalogueEntry {
  readonly name: string;
  readonly load: Load;
}

/** Every command, in the order of help. */
export function allCommands(): readonly CatalogueEntry[] {
  const under = (words: string, verbs: Verbs): CatalogueEntry[] =>
    Object.entries(verbs).map(([verb, load]) => ({ name: `${words} ${verb}`, load }));
  return [
    ...NOUNS.flatMap(({ name, verbs, groups = {} }) => [
      ...under(name, verbs),
      ...Object.entries(groups).flatMap(([word, group]) => under(`${name} ${word}`, group.verbs)),
    ]),
    ...LONE_COMMANDS.map(({ name, load }) => ({ name, load })),
  ];
}

export const LONE_COMMANDS: readonly LoneCommand[] = [
  {
    name: 'doctor',
    summary: 'Check what this host lacks, each with its fix',
    load: () => import('./commands/doctor.ts'),
  },
  {
    name: 'events',
    summary: 'Show what happened on this host, or follow what happens',
    load: () => import('./commands/events.ts'),
  },
  {
    name: 'operations',
    summary: 'Show who changed what on this host, when, and how it ended',
    load: () => import('./commands/operations.ts'),
  },
];
