import type { LongOptions } from '../../async/index.ts';
import type { KeyboardService } from '../../host/index.ts';
import { type Key, parseKeys, typedKeys } from '../../model/index.ts';
import type { EngineContext } from './context.ts';
import { requireRunning } from './observe.ts';
import { order } from './worker/client.ts';

/** QEMU's names of keys (QKeyCode, qapi/ui.json) where they differ from hv's. */
const QEMU_NAMES: Partial<Readonly<Record<Key, string>>> = {
  meta: 'meta_l',
  'right-ctrl': 'ctrl_r',
  'right-alt': 'alt_r',
  'right-shift': 'shift_r',
  'right-meta': 'meta_r',
  enter: 'ret',
  escape: 'esc',
  space: 'spc',
  'page-up': 'pgup',
  'page-down': 'pgdn',
  'caps-lock': 'caps_lock',
  'num-lock': 'num_lock',
  'scroll-lock': 'scroll_lock',
  'print-screen': 'print',
  'left-bracket': 'bracket_left',
  'right-bracket': 'bracket_right',
  grave: 'grave_accent',
  period: 'dot',
};

/** The machine's PS/2 keyboard. */
export class QemuKeyboardService implements KeyboardService {
  readonly #context: EngineContext;

  constructor(context: EngineContext) {
    this.#context = context;
  }

  async type(vmId: string, text: string, options: Pick<LongOptions, 'signal'> = {}): Promise<void> {
    const presses = typedKeys(text);
    await this.#press(vmId, presses, options);
  }

  async press(vmId: string, keys: string): Promise<void> {
    await this.#press(vmId, [parseKeys(keys)]);
  }

  async #press(
    vmId: string,
    presses: readonly (readonly Key[])[],
    options: Pick<LongOptions, 'signal'> = {},
  ): Promise<void> {
    await requireRunning(this.#context, await this.#context.store.load(vmId), 'its keyboard');
    if (presses.length === 0) return;
    await using worker = await this.#context.worker(vmId);
    const named = presses.map((keys) => keys.map((key) => QEMU_NAMES[key] ?? key));
    await worker.call(order({ op: 'press-keys', presses: named }), options);
  }
}
