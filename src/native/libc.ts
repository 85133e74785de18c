import * as abi from './abi.ts';
import { ERRNO } from './errno.ts';
import { type Koffi, loadKoffi, type NativeFunction } from './koffi.ts';

/**
 * The C library's calls that Node does not offer. Every call answers its result, or minus the errno when it failed
 * (the kernel's own convention), so that a caller decides on the fallback without an exception. Calls interrupted by
 * a signal are made again. No pointer and no handle leaves: descriptors are the caller's.
 */
export interface Libc {
  /** Moves the descriptor's position; all of hv's I/O is positional, so nobody minds. */
  lseek(fd: number, offset: number, whence: number): number;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  /** The offsets are values: the descriptors' own positions do not move. */
  copyFileRange(fdIn: number, offsetIn: number, fdOut: number, offsetOut: number, length: number): number;
  /** preadv2 with one buffer. Absent (-ENOSYS) in C libraries that lack it. */
  preadv2(fd: number, target: Uint8Array, start: number, length: number, position: number, flags: number): number;
  linkat(fromFolder: number, from: string, toFolder: number, to: string, flags: number): number;
  flock(fd: number, operation: number): number;
  /** Sets a byte-range lock of the open file description without waiting: -EAGAIN when another holds it. */
  setRangeLock(fd: number, type: number, start: number, length: number): number;
  /** Whether such a lock could be set: F_UNLCK when it could, else the type of the lock that is in the way. */
  testRangeLock(fd: number, type: number, start: number, length: number): number;
  /** Who opened the other end of a connected unix socket; -errno on failure. */
  peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number } | number;
  /** Two connected stream sockets, closed on exec; -errno on failure. */
  socketPair(): readonly [number, number] | number;
  /** Sends what the socket takes without waiting: -EAGAIN when that is nothing. A peer that is gone is -EPIPE, no signal. */
  send(socket: number, source: Uint8Array, start: number, length: number): number;
  /** Receives what is there without waiting: -EAGAIN when nothing is, 0 when the peer has ended its side. */
  receive(socket: number, target: Uint8Array, start: number, length: number): number;
  /**
   * Waits on this thread until one of the descriptors is readable or has an end or a failure to tell, at most
   * `timeoutMs`. Answers how many are and marks them in `ready`; 0 when the time is up.
   */
  awaitReadable(fds: readonly number[], ready: boolean[], timeoutMs: number): number;
  /** How many bytes may be under way to the peer; the kernel cuts it to its own limit. */
  setSendBuffer(socket: number, bytes: number): number;
  /** Takes the descriptor that came with the next message, without waiting: -EAGAIN when none is there, -EBADMSG when it brought none. */
  receiveDescriptor(socket: number): number;
  pidfdOpen(pid: number): number;
  eventfd(): number;
  /**
   * Waits in the thread pool until one of the descriptors is readable, at most `timeoutMs` (bound it: an outstanding
   * wait keeps the process alive). Answers which are; empty when the time is up.
   */
  pollReadable(fds: readonly number[], timeoutMs: number): Promise<readonly number[]>;
  close(fd: number): number;
}

let made: { readonly libc: Libc | undefined } | undefined;

/** The C library through FFI; undefined where there is no FFI or the system is not 64-bit Linux. */
export function nativeLibc(): Libc | undefined {
  made ??= { libc: make() };
  return made.libc;
}

function make(): Libc | undefined {
  if (process.platform !== 'linux' || (process.arch !== 'x64' && process.arch !== 'arm64')) return undefined;
  const koffi = loadKoffi();
  return koffi && bind(koffi);
}

function bind(koffi: Koffi): Libc {
  const library = koffi.load(null); // the process itself: whichever C library Node runs on
  const declare = (definition: string): NativeFunction => library.func(definition);
  const optional = (definition: string): NativeFunction | undefined => {
    try {
      return library.func(definition);
    } catch {
      return undefined; // the export is missing: the wrapper answers -ENOSYS
    }
  };

  const lseek = declare('int64_t lseek(int fd, int64_t offset, int whence)');
  const fallocate = declare('int fallocate(int fd, int mode, int64_t offset, int64_t length)');
  const copyFileRange = optional(
    'int64_t copy_file_range(int in, void *inOffset, int out, void *outOffset, size_t length, uint32_t flags)',
  );
  const preadv2 = optional('int64_t preadv2(int fd, void *iov, int count, int64_t offset, int flags)');
  const linkat = declare('int linkat(int fromFolder, const char *from, int toFolder, const char *to, int flags)');
  const flock = declare('int flock(int fd, int operation)');
  const fcntlLock = declare('int fcntl(int fd, int command, ...)');
  const getsockopt = declare('int getsockopt(int fd, int level, int name, void *value, void *length)');
  const setsockopt = declare('int setsockopt(int fd, int level, int name, void *value, uint32_t length)');
  const socketpair = declare('int socketpair(int domain, int type, int protocol, void *pair)');
  // Addresses travel as numbers: cheaper than having koffi look into a buffer at every call.
  const send = declare('int64_t send(int fd, uint64_t source, uint64_t length, int flags)');
  const recv = declare('int64_t recv(int fd, uint64_t target, uint64_t length, int flags)');
  const recvmsg = declare('int64_t recvmsg(int fd, void *message, int flags)');
  // syscall() is variadic in C; on both architectures integer arguments travel alike either way.
  const syscall = declare('int64_t syscall(int64_t number, int64_t a, int64_t b)');
  const eventfd = declare('int eventfd(uint32_t initial, int flags)');
  const poll = declare('int poll(void *fds, uint64_t count, int timeoutMs)');
  const close = declare('int close(int fd)');

  const call = (work: () => unknown): number => {
    for (;;) {
      const result = Number(work()); // koffi answers a bigint only beyond 2^53, which no length here reaches
      if (result !== -1) return result;
      const errno = koffi.errno();
      if (errno !== ERRNO.EINTR) return -errno;
    }
  };

  // Reused between calls: every call is synchronous and finishes before the next starts.
  const inOffset = new BigInt64Array(1);
  const outOffset = new BigInt64Array(1);
  let polled = new Int32Array(8);
  const iovec = new Uint32Array(abi.IOVEC_BYTES / 4);
  const lock = new DataView(new ArrayBuffer(abi.FLOCK_BYTES));
  const lockBytes = new Uint8Array(lock.buffer);
  const addresses = new WeakMap<ArrayBufferLike, number>();

  /** A buffer's address; user-space addresses stay below 2^53. Backing stores never move. */
  const addressOf = (buffer: ArrayBufferLike): number => {
    let address = addresses.get(buffer);
    if (address === undefined) {
      address = Number(koffi.address(new Uint8Array(buffer)));
      addresses.set(buffer, address);
    }
    return address;
  };

  const addressIn = (bytes: Uint8Array, start: number): number => addressOf(bytes.buffer) + bytes.byteOffset + start;

  const rangeLock = (fd: number, command: number, type: number, start: number, length: number): number => {
    lockBytes.fill(0);
    lock.setInt16(abi.FLOCK.type, type, true);
    lock.setBigInt64(abi.FLOCK.start, BigInt(start), true);
    lock.setBigInt64(abi.FLOCK.length, BigInt(length), true);
    return call(() => fcntlLock(fd, command, 'void *', lockBytes));
  };

  return {
    lseek: (fd, offset, whence) => call(() => lseek(fd, offset, whence)),
    fallocate: (fd, mode, offset, length) => call(() => fallocate(fd, mode, offset, length)),

    copyFileRange(fdIn, offsetIn, fdOut, offsetOut, length) {
      if (!copyFileRange) return -ERRNO.ENOSYS;
      inOffset[0] = BigInt(offsetIn);
      outOffset[0] = BigInt(offsetOut);
      return call(() => copyFileRange(fdIn, inOffset, fdOut, outOffset, length, 0));
    },

    preadv2(fd, target, start, length, position, flags) {
      if (!preadv2) return -ERRNO.ENOSYS;
      if (!isWithin(target, start, length)) return -ERRNO.EFAULT;
      const address = addressIn(target, start);
      iovec[0] = address >>> 0;
      iovec[1] = Math.floor(address / 2 ** 32);
      iovec[2] = length >>> 0;
      iovec[3] = Math.floor(length / 2 ** 32);
      return call(() => preadv2(fd, iovec, 1, position, flags));
    },

    linkat: (fromFolder, from, toFolder, to, flags) => call(() => linkat(fromFolder, from, toFolder, to, flags)),
    flock: (fd, operation) => call(() => flock(fd, operation)),
    setRangeLock: (fd, type, start, length) => rangeLock(fd, abi.F_OFD_SETLK, type, start, length),

    testRangeLock(fd, type, start, length) {
      const result = rangeLock(fd, abi.F_OFD_GETLK, type, start, length);
      return result < 0 ? result : lock.getInt16(abi.FLOCK.type, true);
    },

    peerCredentials(fd) {
      const credentials = new DataView(new ArrayBuffer(abi.UCRED_BYTES));
      const length = new Uint32Array([abi.UCRED_BYTES]);
      const result = call(() =>
        getsockopt(fd, abi.SOL_SOCKET, abi.SO_PEERCRED, new Uint8Array(credentials.buffer), length),
      );
      if (result < 0) return result;
      if (length[0] !== abi.UCRED_BYTES) return -ERRNO.EINVAL;
      return {
        pid: credentials.getInt32(0, true),
        uid: credentials.getUint32(4, true),
        gid: credentials.getUint32(8, true),
      };
    },

    socketPair() {
      const pair = new Int32Array(2);
      const result = call(() => socketpair(abi.AF_UNIX, abi.SOCK_STREAM | abi.SOCK_CLOEXEC, 0, pair));
      return result < 0 ? result : [pair[0] ?? -1, pair[1] ?? -1];
    },

    send(socket, source, start, length) {
      if (!isWithin(source, start, length)) return -ERRNO.EFAULT;
      const address = addressIn(source, start);
      return call(() => send(socket, address, length, abi.MSG_DONTWAIT | abi.MSG_NOSIGNAL));
    },

    receive(socket, target, start, length) {
      if (!isWithin(target, start, length)) return -ERRNO.EFAULT;
      const address = addressIn(target, start);
      return call(() => recv(socket, address, length, abi.MSG_DONTWAIT));
    },

    awaitReadable(fds, ready, timeoutMs) {
      if (polled.length < fds.length * 2) polled = new Int32Array(fds.length * 2);
      for (let index = 0; index < fds.length; index++) {
        polled[index * 2] = fds[index] ?? -1;
        polled[index * 2 + 1] = abi.POLLIN; // i16 events, and i16 revents as zero
      }
      const result = Number(poll(polled, fds.length, timeoutMs));
      if (result === -1) {
        // A signal ends the wait early: its bound matters more than its length.
        const errno = koffi.errno();
        if (errno !== ERRNO.EINTR) return -errno;
      }
      for (let index = 0; index < fds.length; index++) ready[index] = (polled[index * 2 + 1] ?? 0) >>> 16 !== 0;
      return Math.max(0, result);
    },

    setSendBuffer(socket, bytes) {
      const value = new Int32Array([bytes]);
      return call(() => setsockopt(socket, abi.SOL_SOCKET, abi.SO_SNDBUF, value, value.byteLength));
    },

    receiveDescriptor(socket) {
      // One block for everything, so that the addresses in it are the addresses of its own parts.
      const [data, iov, control] = [abi.MSGHDR_BYTES, abi.MSGHDR_BYTES + 8, abi.MSGHDR_BYTES + 8 + abi.IOVEC_BYTES];
      const message = new DataView(new ArrayBuffer(control + abi.CMSG.bytes));
      const address = BigInt(addressOf(message.buffer));
      message.setBigUint64(iov, address + BigInt(data), true);
      message.setBigUint64(iov + 8, 1n, true);
      message.setBigUint64(abi.MSGHDR.iov, address + BigInt(iov), true);
      message.setBigUint64(abi.MSGHDR.iovCount, 1n, true);
      message.setBigUint64(abi.MSGHDR.control, address + BigInt(control), true);
      message.setBigUint64(abi.MSGHDR.controlBytes, BigInt(abi.CMSG.bytes), true);
      const bytes = new Uint8Array(message.buffer);
      const result = call(() => recvmsg(socket, bytes, abi.MSG_DONTWAIT | abi.MSG_CMSG_CLOEXEC));
      if (result < 0) return result;
      const isDescriptor =
        message.getBigUint64(control, true) === BigInt(abi.CMSG.oneDescriptorBytes) &&
        message.getInt32(control + abi.CMSG.level, true) === abi.SOL_SOCKET &&
        message.getInt32(control + abi.CMSG.type, true) === abi.SCM_RIGHTS;
      return isDescriptor ? message.getInt32(control + abi.CMSG.data, true) : -ERRNO.EBADMSG;
    },

    pidfdOpen: (pid) => call(() => syscall(abi.SYS_PIDFD_OPEN, pid, 0)),
    eventfd: () => call(() => eventfd(0, abi.EFD_CLOEXEC | abi.EFD_NONBLOCK)),

    pollReadable(fds, timeoutMs) {
      const entries = new DataView(new ArrayBuffer(Math.max(1, fds.length) * abi.POLLFD_BYTES));
      for (const [index, fd] of fds.entries()) {
        entries.setInt32(index * abi.POLLFD_BYTES, fd, true);
        entries.setInt16(index * abi.POLLFD_BYTES + 4, abi.POLLIN, true);
      }
      return new Promise((resolve, reject) => {
        poll.async(new Uint8Array(entries.buffer), fds.length, timeoutMs, (error: unknown) => {
          if (error) reject(error);
          // Any event counts: an error condition is noticed by whoever reads next.
          else resolve(fds.filter((_fd, index) => entries.getInt16(index * abi.POLLFD_BYTES + 6, true) !== 0));
        });
      });
    },

    close: (fd) => call(() => close(fd)),
  };
}

/** What is handed to the kernel as an address must lie in its buffer. */
function isWithin(bytes: Uint8Array, start: number, length: number): boolean {
  return start >= 0 && length >= 0 && start + length <= bytes.length;
}
