import { access, constants } from 'node:fs/promises';
import { HvError, isHvError } from '../../errors/index.ts';
import type { DoctorFinding } from '../../model/index.ts';
import { requireProgram } from '../../system/index.ts';

/** A program, or a file where it is no program, that building the template takes from the host. */
export interface TemplateRequirement {
  readonly program: string;
  /** The Debian package that brings it. */
  readonly package: string;
}

/** GRUB's images for BIOS, from grub-pc-bin; the package also brings grub-mkimage through grub-common. */
export const GRUB_FOLDER = '/usr/lib/grub/i386-pc';

/** What `hv doctor` asks for; everything else that goes into the template is downloaded and unpacked, not installed. */
export function templateRequirements(): readonly TemplateRequirement[] {
  return [
    { program: 'apt-get', package: 'apt' },
    { program: 'apt-cache', package: 'apt' },
    { program: 'dpkg-deb', package: 'dpkg' },
    { program: 'grub-mkimage', package: 'grub-common' },
    { program: `${GRUB_FOLDER}/boot.img`, package: 'grub-pc-bin' },
    { program: 'mkfs.fat', package: 'dosfstools' },
    { program: 'mcopy', package: 'mtools' },
    { program: 'mke2fs', package: 'e2fsprogs' },
  ];
}

/** One line of `hv doctor`: whether the template can be built here. */
export async function examineTemplateRequirements(): Promise<DoctorFinding> {
  const finding = { id: 'linux-template', title: 'Linux template' };
  try {
    await checkTemplateRequirements();
    return { ...finding, status: 'ok', message: 'everything to build it is there', fix: null };
  } catch (error) {
    if (!isHvError(error)) throw error;
    return { ...finding, status: 'warning', message: error.message, fix: error.hint ?? null };
  }
}

/** @throws HvError `missing-dependency`, naming every package that is missing; `unsupported` off x86-64 Linux */
export async function checkTemplateRequirements(): Promise<void> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new HvError('unsupported', 'the Linux template is built on x86-64 Debian or Ubuntu only', {
      detail: { platform: process.platform, arch: process.arch },
    });
  }
  const missing: TemplateRequirement[] = [];
  for (const requirement of templateRequirements()) {
    if (!(await isThere(requirement.program))) missing.push(requirement);
  }
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((requirement) => requirement.package))];
  const programs = missing.map((requirement) => requirement.program);
  throw new HvError('missing-dependency', `the template cannot be built without ${programs.join(', ')}`, {
    detail: { programs, packages },
    hint: `Install what is missing: apt-get install --no-install-recommends ${packages.join(' ')}`,
  });
}

async function isThere(program: string): Promise<boolean> {
  try {
    if (program.startsWith('/')) await access(program, constants.R_OK);
    else await requireProgram(program);
    return true;
  } catch {
    // Absence is the answer.
    return false;
  }
}
