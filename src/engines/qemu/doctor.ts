import { existsSync } from 'node:fs';
import { isHvError } from '../../errors/index.ts';
import type { DoctorFinding } from '../../model/index.ts';
import { ensureFolders, type HvPaths, VmStore } from '../../state/index.ts';
import { findProgram, hasFfi, packageOf, readCpu, readMemory } from '../../system/index.ts';
import { chooseAcceleration } from './acceleration.ts';
import { examineWays, hasDevice } from './mounts/ways.ts';
import { findFirmware, qemuVersion } from './qemu-programs.ts';

/** Programs that parts of hv use beside QEMU itself, and what for. */
const OPTIONAL_PROGRAMS: readonly { readonly program: string; readonly purpose: string }[] = [
  { program: 'qemu-img', purpose: 'other disk formats' },
];

/** Looks at everything that the engine needs of this host; each finding says what to do. */
export async function examineHost(paths: HvPaths): Promise<DoctorFinding[]> {
  return [
    await qemu(),
    await firmware(),
    acceleration(),
    memory(),
    await folders(paths),
    ...(await damagedDefinitions(paths)),
    ffi(),
    ...(await programs()),
    await mounting(),
  ];
}

async function qemu(): Promise<DoctorFinding> {
  const finding = { id: 'qemu', title: 'QEMU' };
  try {
    const version = await qemuVersion();
    return { ...finding, status: 'ok', message: `version ${version.text}`, fix: null };
  } catch (error) {
    if (!isHvError(error)) throw error;
    return {
      ...finding,
      status: 'missing',
      message: error.message,
      fix: error.hint ?? 'apt-get install qemu-system-x86',
    };
  }
}

async function firmware(): Promise<DoctorFinding> {
  const found = await findFirmware();
  return found
    ? { id: 'firmware', title: 'UEFI firmware', status: 'ok', message: found.code, fix: null }
    : {
        id: 'firmware',
        title: 'UEFI firmware',
        status: 'missing',
        message: 'Generation 2 machines cannot start',
        fix: 'apt-get install ovmf',
      };
}

function acceleration(): DoctorFinding {
  const finding = { id: 'acceleration', title: 'Acceleration' };
  if (chooseAcceleration() === 'kvm') return { ...finding, status: 'ok', message: 'KVM', fix: null };
  const cpu = readCpu();
  if (!cpu.hasVmx && !cpu.hasSvm) {
    return {
      ...finding,
      status: 'warning',
      message: 'the processor offers no virtualisation: guests are translated (TCG), about ten times slower',
      fix: cpu.isVirtual
        ? 'Enable nested virtualisation for this host, where its own host allows it.'
        : 'Enable VT-x or AMD-V in the firmware, where it has it.',
    };
  }
  return {
    ...finding,
    status: 'warning',
    message: existsSync('/dev/kvm') ? '/dev/kvm may not be opened by this user' : 'the kernel offers no /dev/kvm',
    fix: existsSync('/dev/kvm')
      ? 'Join the group kvm: usermod -aG kvm <user>, then log in again.'
      : 'modprobe kvm_intel or kvm_amd',
  };
}

function memory(): DoctorFinding {
  const { totalBytes, availableBytes } = readMemory();
  const isShort = availableBytes < 2 ** 30;
  const gib = (bytes: number): string => (bytes / 2 ** 30).toFixed(1);
  return {
    id: 'memory',
    title: 'Memory',
    status: isShort ? 'warning' : 'ok',
    message: `${gib(availableBytes)} GiB of ${gib(totalBytes)} GiB available`,
    fix: isShort ? 'Stop other programs, or give machines less memory.' : null,
  };
}

async function folders(paths: HvPaths): Promise<DoctorFinding> {
  const finding = { id: 'folders', title: 'Folders' };
  try {
    await ensureFolders(paths);
    return { ...finding, status: 'ok', message: `${paths.home} and ${paths.run}`, fix: null };
  } catch (error) {
    if (!isHvError(error)) throw error;
    return {
      ...finding,
      status: 'missing',
      message: error.message,
      fix: error.hint ?? 'Choose other folders with HV_HOME and HV_RUN.',
    };
  }
}

/** One finding for each machine whose definition cannot be read; none where all is well. */
async function damagedDefinitions(paths: HvPaths): Promise<DoctorFinding[]> {
  const { damaged } = await new VmStore(paths).survey();
  return damaged.map(({ id, path, error }) => ({
    id: `definition-${id}`,
    title: 'Definition',
    status: 'missing',
    message: error.message,
    fix: `Restore ${path} from a backup; or give the machine up: remove its folder, its disks stay where they are.`,
  }));
}

/**
 * Disks can be used without being mounted: what is missing for it is no more than a warning. Nothing is where one way to
 * a block device works.
 */
async function mounting(): Promise<DoctorFinding> {
  const ways = await examineWays();
  const works = ways.filter(({ missing }) => missing === null).map(({ way }) => way);
  const lacks = ways.flatMap(({ way, missing }) => (missing === null ? [] : [`not as ${way}: ${missing}`]));
  const isGood = works.some(hasDevice);
  // Of two ways to a device the second needs less.
  const fix = ways.findLast(({ way, missing }) => missing !== null && hasDevice(way))?.fix ?? null;
  return {
    id: 'mount',
    title: 'Mounting disks',
    status: isGood ? 'ok' : 'warning',
    message: [...(works.length > 0 ? [`as ${works.join(' or ')}`] : []), ...lacks].join('; '),
    fix: isGood ? null : fix,
  };
}

function ffi(): DoctorFinding {
  const finding = { id: 'ffi', title: 'Native calls' };
  return hasFfi()
    ? { ...finding, status: 'ok', message: 'koffi', fix: null }
    : {
        ...finding,
        status: 'warning',
        message: 'koffi is not loaded: disks are not locked against other programs, and freed blocks stay allocated',
        fix: 'npm install (the optional dependency koffi)',
      };
}

async function programs(): Promise<DoctorFinding[]> {
  return Promise.all(
    OPTIONAL_PROGRAMS.map(async ({ program, purpose }): Promise<DoctorFinding> => {
      const path = await findProgram(program);
      const finding = { id: `program-${program}`, title: program };
      return path === undefined
        ? {
            ...finding,
            status: 'warning',
            message: `not installed; needed for ${purpose}`,
            fix: `apt-get install ${packageOf(program) ?? program}`,
          }
        : { ...finding, status: 'ok', message: path, fix: null };
    }),
  );
}
