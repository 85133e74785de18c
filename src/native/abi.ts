/**
 * Linux constants and structures as the kernel's user-space headers define them. Every value here is the same on
 * x86-64 and arm64 (both take asm-generic's), little-endian, LP64.
 */

/** lseek(2): the next byte that holds data, the next hole. */
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/** fallocate(2). */
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;

/** open(2): a file without a name; together with O_DIRECTORY, whose value is the architecture's own (node:fs has it). */
export const O_TMPFILE = 0o20000000;

/** linkat(2): paths as they are; what a symbolic link leads to. */
export const AT_FDCWD = -100;
export const AT_SYMLINK_FOLLOW = 0x400;

/** preadv2(2): fail with EAGAIN rather than wait for storage. */
export const RWF_NOWAIT = 0x08;

/** flock(2). */
export const LOCK_SH = 1;
export const LOCK_EX = 2;
export const LOCK_NB = 4;
export const LOCK_UN = 8;

/** fcntl(2): locks that belong to the open file description. */
export const F_OFD_GETLK = 36;
export const F_OFD_SETLK = 37;
export const F_RDLCK = 0;
export const F_WRLCK = 1;
export const F_UNLCK = 2;

/** struct flock: i16 type @0, i16 whence @2, 4 bytes gap, i64 start @8, i64 length @16, i32 pid @24 (0 for OFD), 4 bytes gap. */
export const FLOCK_BYTES = 32;
export const FLOCK = { type: 0, whence: 2, start: 8, length: 16, pid: 24 } as const;

/** struct iovec: pointer @0, size_t @8. */
export const IOVEC_BYTES = 16;

/** struct pollfd: i32 fd @0, i16 events @4, i16 revents @6. */
export const POLLFD_BYTES = 8;
export const POLLIN = 0x001;

/** getsockopt(2) and setsockopt(2) on a unix socket; struct ucred: i32 pid, u32 uid, u32 gid. */
export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_PEERCRED = 17;
export const UCRED_BYTES = 12;

/** eventfd(2). */
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;

/** System calls newer than the oldest libc; numbers above 424 are common to all architectures. */
export const SYS_PIDFD_OPEN = 434;

/** socketpair(2), send(2), recv(2) and recvmsg(2). */
export const AF_UNIX = 1;
export const SOCK_STREAM = 1;
export const SOCK_CLOEXEC = 0o2000000;
export const SCM_RIGHTS = 1;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_CMSG_CLOEXEC = 0x40000000;

/** struct msghdr: pointer name @0, u32 namelen @8, pointer iov @16, size_t iovlen @24, pointer control @32, size_t controllen @40, i32 flags @48. */
export const MSGHDR_BYTES = 56;
export const MSGHDR = { iov: 16, iovCount: 24, control: 32, controlBytes: 40 } as const;
/** struct cmsghdr: size_t length @0, i32 level @8, i32 type @12, data @16. One descriptor takes 20 bytes, padded to 24. */
export const CMSG = { level: 8, type: 12, data: 16, oneDescriptorBytes: 20, bytes: 24 } as const;
