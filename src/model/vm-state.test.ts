import { describe, expect, it } from 'vitest';
import { HvError } from '../errors/index.ts';
import { judgeMove, VM_ACTIONS, VM_STATES, type VmAction, type VmState } from './vm-state.ts';

/** D: done, d: already so, .: refused. One row an action, one letter a state, in the order of VM_STATES. */
const EXPECTED: Readonly<Record<VmAction, string>> = {
  //                Unknown Off Starting Running Pausing Paused Resuming Saving Saved Stopping
  start: '. D . d . D . . D .',
  stop: '. d . D . . . . . .',
  forceStop: 'D d D D D D D D D D',
  pause: '. . . D . d . . . .',
  resume: '. . . d . D . . D .',
  save: '. . . D . D . . d .',
  reset: '. . . D . D . . . .',
  delete: '. D . . . . . . D .',
  createSnapshot: '. D . D . D . . D .',
  applySnapshot: '. D . D . D . . D .',
  deleteSnapshot: '. D . D . D . . . .',
  changeDrives: '. D . D . D . . . .',
  changeControllers: '. D . . . . . . . .',
};
const MACHINE = { id: '5f0c0ac4-6c7e-4b63-9c4e-5a1f4f3f1d11', name: 'web "1"' };

function outcome(action: VmAction, state: VmState): string {
  try {
    return judgeMove(action, state, MACHINE) === 'do' ? 'D' : 'd';
  } catch (error) {
    if (error instanceof HvError && error.code === 'invalid-state') return '.';
    throw error;
  }
}

describe('judgeMove', () => {
  for (const action of VM_ACTIONS) {
    for (const [index, state] of VM_STATES.entries()) {
      const expected = EXPECTED[action].split(' ')[index];
      it(`${action} while ${state} is ${expected === 'D' ? 'carried out' : expected === 'd' ? 'already so' : 'refused'}`, () => {
        expect(outcome(action, state)).toBe(expected);
      });
    }
  }

  it('names the machine, its state and the states that would do', () => {
    try {
      judgeMove('pause', 'Off', MACHINE);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(HvError);
      const { message, detail, hint } = error as HvError;
      expect(message).toContain('pause');
      expect(message).toContain('Off');
      expect(detail).toMatchObject({
        vm: MACHINE.name,
        id: MACHINE.id,
        state: 'Off',
        legalStates: ['Running', 'Paused'],
      });
      expect(hint).toBeTruthy();
    }
  });

  it('lets every state be left by a forced stop, so that no machine is stuck', () => {
    for (const state of VM_STATES) expect(['D', 'd']).toContain(outcome('forceStop', state));
  });
});
