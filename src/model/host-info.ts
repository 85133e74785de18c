/** What a host is and offers (Msvm_ComputerSystem, Msvm_VirtualSystemManagementServiceSettingData). */
export interface HostInfo {
  readonly computerName: string;
  readonly engine: 'qemu' | 'hyperv';
  readonly engineVersion: string | null;
  readonly operatingSystem: string;
  readonly logicalProcessorCount: number;
  readonly memoryCapacityBytes: number;
  readonly memoryAvailableBytes: number;
  /** `kvm`: guests run on the processor; `tcg`: their instructions are translated. */
  readonly acceleration: 'kvm' | 'tcg' | 'hyperv';
  /** Where definitions of machines are kept. */
  readonly vmPath: string;
  /** Where new disks are put. */
  readonly vhdPath: string;
}

export interface HostSettings {
  readonly vmPath?: string;
  readonly vhdPath?: string;
}

/** One line of `hv doctor`. */
export interface DoctorFinding {
  readonly id: string;
  readonly title: string;
  readonly status: 'ok' | 'warning' | 'missing';
  /** What was found. */
  readonly message: string;
  /** What to do; null where nothing is to be done. */
  readonly fix: string | null;
}
