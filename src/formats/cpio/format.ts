/**
 * cpio "newc" archives, the form of Linux's initramfs: Documentation/driver-api/early-userspace/buffer-format.rst.
 * A header is 110 ASCII characters: the magic, then 13 numbers of 8 hexadecimal digits. Name (with its NUL) and data
 * are each padded so that what follows starts at a multiple of 4.
 */
export const CPIO_NEWC_MAGIC = '070701';
export const CPIO_HEADER_SIZE = 110;
export const CPIO_TRAILER_NAME = 'TRAILER!!!';

/** File type bits of the mode field (POSIX sys/stat.h, Linux values). */
export const CPIO_MODE = { file: 0o100000, folder: 0o040000, link: 0o120000, characterDevice: 0o020000 } as const;
