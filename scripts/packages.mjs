// Every system package that the project's commands need, per purpose: the one place to look and to change.
// `brings` are programs (looked for in PATH and the sbin folders) or absolute files; a host that has them all some
// other way needs no package. Where `brings` is empty, only the package itself counts.

const run = [
  { package: 'qemu-system-x86', brings: ['qemu-system-x86_64'] },
  { package: 'qemu-utils', brings: ['qemu-img'] },
  { package: 'ovmf', brings: ['/usr/share/OVMF/OVMF_CODE_4M.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd'] },
];

/** What `hv template build-linux` runs; kernel, busybox, boot loader and guest agent it fetches
 * and unpacks itself, with apt-get download. */
const template = [
  { package: 'dosfstools', brings: ['mkfs.fat'] },
  { package: 'e2fsprogs', brings: ['mke2fs'] },
  { package: 'grub-common', brings: ['grub-mkimage'] },
  { package: 'grub-pc-bin', brings: ['/usr/lib/grub/i386-pc/boot.img'] },
  { package: 'mtools', brings: ['mcopy'] },
];

/** Outside tools that the tests compare with. */
const compare = [
  { package: 'libvhdi-utils', brings: ['vhdiinfo'] },
  { package: 'python3-libvhdi', brings: [] },
  { package: '7zip', brings: [] }, // 7zz or 7z, by the system's version: reads chains of VHD files, finding the parents itself
  { package: 'libnbd-bin', brings: ['nbdinfo', 'nbdcopy'] },
  { package: 'nbdkit', brings: ['nbdkit'] },
  { package: 'nbd-client', brings: ['nbd-client'] },
  { package: 'fuse3', brings: ['fusermount3'] },
  { package: 'sg3-utils', brings: ['sg_decode_sense', 'sg_vpd'] },
  { package: 'gdisk', brings: ['sgdisk'] },
  { package: 'fdisk', brings: ['sfdisk'] },
  { package: 'ntfs-3g', brings: ['mkfs.ntfs', 'ntfscp', 'ntfscat', 'ntfsinfo'] },
  { package: 'exfatprogs', brings: ['mkfs.exfat'] },
  { package: 'bzip2', brings: ['bzip2'] },
];

const measure = [{ package: 'fio', brings: ['fio'] }];

export const PACKAGES = {
  check: [],
  start: [...run, ...template],
  test: [...run, ...template, ...compare],
  bench: [...run, ...template, ...compare, ...measure],
};
