/** Something that a machine can boot from: one of its drives or adapters, by the id that the definition gives it. */
export interface BootDevice {
  readonly kind: 'HardDiskDrive' | 'DvdDrive' | 'NetworkAdapter';
  readonly id: string;
}

/** Whose signatures Secure Boot trusts. */
export const SECURE_BOOT_TEMPLATES = [
  'MicrosoftWindows',
  'MicrosoftUEFICertificateAuthority',
  'OpenSourceShieldedVM',
] as const;
export type SecureBootTemplate = (typeof SECURE_BOOT_TEMPLATES)[number];

/** Where the firmware and the boot loader show themselves (Msvm_VirtualSystemSettingData.ConsoleMode). */
export const CONSOLE_MODES = ['Default', 'COM1', 'COM2', 'None'] as const;
export type ConsoleMode = (typeof CONSOLE_MODES)[number];

/** How a machine starts (Msvm_VirtualSystemSettingData and Msvm_BootSourceSettingData). */
export interface FirmwareSettings {
  /** In this order; what is not named comes after, drives before adapters. Empty: the order of the definition. */
  readonly bootOrder: readonly BootDevice[];
  /** For the next start only, before `bootOrder`. */
  readonly nextBoot: BootDevice | null;
  /** Generation 2 only. */
  readonly secureBoot: boolean;
  readonly secureBootTemplate: SecureBootTemplate;
  readonly consoleMode: ConsoleMode;
}

export const DEFAULT_FIRMWARE: FirmwareSettings = {
  bootOrder: [],
  nextBoot: null,
  secureBoot: false,
  secureBootTemplate: 'MicrosoftWindows',
  consoleMode: 'Default',
};

/** What a serial port leads to on the host, beside its log (Msvm_SerialPortSettingData). */
export interface ComPort {
  readonly number: 1 | 2;
  /** Null: for COM1, hv's own console; for COM2, nothing. */
  readonly target: { readonly kind: 'socket' | 'file' | 'pipe'; readonly path: string } | null;
}

export const DEFAULT_COM_PORTS: readonly ComPort[] = [
  { number: 1, target: null },
  { number: 2, target: null },
];
