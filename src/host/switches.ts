import type { SwitchInfo } from '../model/index.ts';

/** Virtual switches (Msvm_VirtualEthernetSwitchManagementService). */
export interface SwitchService {
  /** Windows: Msvm_VirtualEthernetSwitch. */
  list(): Promise<SwitchInfo[]>;
}
