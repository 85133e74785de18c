import type { LongOptions } from '../async/index.ts';

/** A machine's keyboard, of the US layout (Msvm_Keyboard). */
export interface KeyboardService {
  /** Windows: TypeText. @throws `invalid-argument` (a character that is not on it), `invalid-state`; nothing is typed then */
  type(vmId: string, text: string, options?: Pick<LongOptions, 'signal'>): Promise<void>;

  /** Presses keys together: `ctrl+alt+del`. Windows: TypeKey, TypeCtrlAltDel. @throws `invalid-argument`, `invalid-state` */
  press(vmId: string, keys: string): Promise<void>;
}
