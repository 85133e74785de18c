import { HvError } from '../errors/index.ts';

/** The states of Hyper-V's virtual machines (Msvm_ComputerSystem.EnabledState), by the names of its own tools. */
export const VM_STATES = [
  'Unknown',
  'Off',
  'Starting',
  'Running',
  'Pausing',
  'Paused',
  'Resuming',
  'Saving',
  'Saved',
  'Stopping',
] as const;
export type VmState = (typeof VM_STATES)[number];

/** What a caller asks of a virtual machine. */
export const VM_ACTIONS = [
  'start',
  'stop',
  'forceStop',
  'pause',
  'resume',
  'save',
  'reset',
  'delete',
  'applySnapshot',
  'createSnapshot',
  'deleteSnapshot',
  'changeDrives',
  'changeControllers',
] as const;
export type VmAction = (typeof VM_ACTIONS)[number];

/** `do`: legal; `done`: already so, nothing happens; absent: refused with `invalid-state`. */
type Verdict = 'do' | 'done';

/** The one table of legal moves; every pair is tested. */
const MOVES: Readonly<Record<VmAction, Partial<Readonly<Record<VmState, Verdict>>>>> = {
  start: { Off: 'do', Saved: 'do', Paused: 'do', Running: 'done' },
  stop: { Running: 'do', Off: 'done' },
  forceStop: {
    Running: 'do',
    Paused: 'do',
    Saved: 'do',
    Starting: 'do',
    Pausing: 'do',
    Resuming: 'do',
    Saving: 'do',
    Stopping: 'do',
    Unknown: 'do',
    Off: 'done',
  },
  pause: { Running: 'do', Paused: 'done' },
  resume: { Paused: 'do', Saved: 'do', Running: 'done' },
  save: { Running: 'do', Paused: 'do', Saved: 'done' },
  reset: { Running: 'do', Paused: 'do' },
  delete: { Off: 'do', Saved: 'do' },
  createSnapshot: { Running: 'do', Paused: 'do', Off: 'do', Saved: 'do' },
  applySnapshot: { Running: 'do', Paused: 'do', Off: 'do', Saved: 'do' },
  deleteSnapshot: { Running: 'do', Paused: 'do', Off: 'do' },
  changeDrives: { Running: 'do', Paused: 'do', Off: 'do' },
  changeControllers: { Off: 'do' },
};

const ADVICE: Partial<Readonly<Record<VmAction, string>>> = {
  stop: 'Resume it first, or use force-stop.',
  save: 'Only a running or paused machine can be saved.',
  delete: 'Stop it first (stop, or force-stop).',
  reset: 'Start it instead.',
  pause: 'Only a running machine can be paused.',
  resume: 'Start it instead.',
  deleteSnapshot: 'The layers under a saved machine stay as its memory knows them: start it first, or force-stop it.',
  changeDrives: 'Its memory knows the drives that it was saved with: start it first, or force-stop it.',
  changeControllers: 'Stop it first.',
};

/** Says whether the action is to be carried out (`do`) or already true (`done`). @throws HvError `invalid-state` */
export function judgeMove(
  action: VmAction,
  state: VmState,
  vm: { readonly id: string; readonly name: string },
): Verdict {
  const verdict = MOVES[action][state];
  if (verdict) return verdict;
  const hint = ADVICE[action];
  throw new HvError('invalid-state', `cannot ${ACTION_TEXT[action]} "${vm.name}": it is ${state}`, {
    detail: { vm: vm.name, id: vm.id, state, action, legalStates: Object.keys(MOVES[action]) },
    ...(hint === undefined ? {} : { hint }),
  });
}

const ACTION_TEXT: Readonly<Record<VmAction, string>> = {
  start: 'start',
  stop: 'stop',
  forceStop: 'force-stop',
  pause: 'pause',
  resume: 'resume',
  save: 'save',
  reset: 'reset',
  delete: 'delete',
  applySnapshot: 'apply a snapshot to',
  createSnapshot: 'take a snapshot of',
  deleteSnapshot: 'delete a snapshot of',
  changeDrives: 'change the drives of',
  changeControllers: 'change the controllers of',
};
