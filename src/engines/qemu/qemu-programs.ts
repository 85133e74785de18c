import { access, constants } from 'node:fs/promises';
import { HvError } from '../../errors/index.ts';
import { requireProgram, runProgram } from '../../system/index.ts';

export const QEMU_SYSTEM = 'qemu-system-x86_64';

export interface QemuVersion {
  readonly major: number;
  readonly minor: number;
  readonly text: string;
}

/** The oldest QEMU whose behaviour the engine relies on. */
const MINIMUM: Readonly<{ major: number; minor: number }> = { major: 7, minor: 2 };

/** @throws HvError `missing-dependency`, `unsupported` (too old), `process-failed` */
export async function qemuVersion(): Promise<QemuVersion> {
  const program = await requireProgram(QEMU_SYSTEM);
  const { stdout } = await runProgram(program, ['--version'], { deadlineMs: 10_000 });
  const match = /version (\d+)\.(\d+)(?:\.(\d+))?/.exec(stdout.toString('utf8'));
  const [, major, minor, patch] = match ?? [];
  if (major === undefined || minor === undefined) {
    throw new HvError('process-failed', `${program} does not say its version`, { detail: { program } });
  }
  const version = { major: Number(major), minor: Number(minor), text: `${major}.${minor}.${patch ?? 0}` };
  if (version.major < MINIMUM.major || (version.major === MINIMUM.major && version.minor < MINIMUM.minor)) {
    throw new HvError('unsupported', `QEMU ${version.text} is too old`, {
      detail: { version: version.text },
      hint: `Use QEMU ${MINIMUM.major}.${MINIMUM.minor} or later.`,
    });
  }
  return version;
}

export interface Firmware {
  readonly code: string;
  readonly variables: string;
}

/** Debian and Ubuntu name the same builds alike; others follow. Secure Boot is off in these. */
const FIRMWARE_CANDIDATES: readonly Firmware[] = [
  { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' },
  { code: '/usr/share/edk2/ovmf/OVMF_CODE_4M.fd', variables: '/usr/share/edk2/ovmf/OVMF_VARS_4M.fd' },
  { code: '/usr/share/edk2/x64/OVMF_CODE.4m.fd', variables: '/usr/share/edk2/x64/OVMF_VARS.4m.fd' },
  { code: '/usr/share/OVMF/OVMF_CODE.fd', variables: '/usr/share/OVMF/OVMF_VARS.fd' },
];

export async function findFirmware(): Promise<Firmware | undefined> {
  for (const candidate of FIRMWARE_CANDIDATES) {
    if ((await readable(candidate.code)) && (await readable(candidate.variables))) return candidate;
  }
  return undefined;
}

/** @throws HvError `missing-dependency` */
export async function requireFirmware(): Promise<Firmware> {
  const firmware = await findFirmware();
  if (!firmware) {
    throw new HvError('missing-dependency', 'the UEFI firmware for Generation 2 machines (OVMF) is not installed', {
      detail: { package: 'ovmf' },
      hint: 'Install it: apt-get install ovmf',
    });
  }
  return firmware;
}

async function readable(path: string): Promise<boolean> {
  try {
    await access(path, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
