import type { CommandDefinition } from './definition.ts';

type Load = () => Promise<{ readonly command: CommandDefinition }>;

export interface Noun {
  readonly name: string;
  readonly summary: string;
  /** Verb to module; a module is loaded when its command runs, or when the noun's help lists it. */
  readonly verbs: Readonly<Record<string, Load>>;
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
      logs: () => import('./commands/vm/logs.ts'),
      console: () => import('./commands/vm/console.ts'),
      screenshot: () => import('./commands/vm/screenshot.ts'),
      wait: () => import('./commands/vm/wait.ts'),
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
    name: 'vhd',
    summary: 'Virtual hard disk files',
    verbs: {
      create: () => import('./commands/vhd/create.ts'),
      info: () => import('./commands/vhd/info.ts'),
      serve: () => import('./commands/vhd/serve.ts'),
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

export const LONE_COMMANDS: readonly LoneCommand[] = [
  {
    name: 'doctor',
    summary: 'Check what this host lacks, each with its fix',
    load: () => import('./commands/doctor.ts'),
  },
];
