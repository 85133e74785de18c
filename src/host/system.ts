import type { DoctorFinding, HostInfo, HostSettings } from '../model/index.ts';

/** The host itself. */
export interface SystemService {
  /** Windows: Win32_ComputerSystem, Msvm_VirtualSystemManagementServiceSettingData. */
  info(): Promise<HostInfo>;

  /**
   * Changes default paths; folders are created. Windows: ModifyServiceSettings (DefaultExternalDataRoot, DefaultVirtualHardDiskPath).
   * @throws `invalid-argument` (not absolute, not a folder), `permission-denied`
   */
  set(settings: HostSettings): Promise<HostInfo>;

  /** What this host lacks, each with its fix. */
  doctor(): Promise<DoctorFinding[]>;
}
