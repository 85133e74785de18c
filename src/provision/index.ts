/**
 * provision: makes disks that boot, and what guests need to start with.
 *
 *     buildLinuxTemplate: Debian packages -> kernel, modules, busybox, agent -> initramfs -> unified kernel image, GRUB
 *                         -> partitions and file systems -> VHDX in the cache -> copy
 *
 * Imports host, model, disk, formats and system; never an engine.
 */
export { type BuildLinuxTemplateOptions, buildLinuxTemplate, type LinuxTemplate } from './linux-template/build.ts';
export { LINUX_TEMPLATE_VERSION } from './linux-template/guest-files.ts';
export {
  examineTemplateRequirements,
  type TemplateRequirement,
  templateRequirements,
} from './linux-template/requirements.ts';
