import type { SwitchService } from '../../host/index.ts';
import { DEFAULT_SWITCH, type SwitchInfo } from '../../model/index.ts';

/** The id that Windows gives its own Default Switch, the same on every host. */
const DEFAULT_SWITCH_ID = 'c08cb7b8-9b3c-408e-8e30-5e16a3aeb444';

/** Virtual switches: the built-in one, which QEMU's user-mode network serves with NAT and DHCP. */
export class QemuSwitchService implements SwitchService {
  async list(): Promise<SwitchInfo[]> {
    return [{ id: DEFAULT_SWITCH_ID, name: DEFAULT_SWITCH, type: 'Nat' }];
  }
}
