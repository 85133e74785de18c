import { HvError } from '../errors/index.ts';
import { nativeError, nativeLibc } from '../native/index.ts';

/** One end of a socket pair, on which a program that we start can send us a descriptor (unix(7), SCM_RIGHTS). */
export interface DescriptorMailbox extends Disposable {
  /** What the program inherits. */
  readonly programEnd: number;
  /** The descriptor that came; ours to close. @throws HvError `protocol` when none did */
  take(): number;
}

/** @throws HvError `unsupported` without FFI */
export function descriptorMailbox(): DescriptorMailbox {
  const libc = nativeLibc();
  if (!libc) {
    throw new HvError('unsupported', 'a descriptor cannot be taken from another program without native calls', {
      hint: 'npm install (the optional dependency koffi)',
    });
  }
  const pair = libc.socketPair();
  if (typeof pair === 'number') throw nativeError('socketpair', -pair, 'could not make a pair of sockets');
  const [ownEnd, programEnd] = pair;
  let isOpen = true;
  return {
    programEnd,
    take() {
      const fd = libc.receiveDescriptor(ownEnd);
      if (fd < 0) throw new HvError('protocol', 'the program sent no descriptor', { detail: { errnoNumber: -fd } });
      return fd;
    },
    [Symbol.dispose]() {
      if (!isOpen) return;
      isOpen = false;
      libc.close(ownEnd);
      libc.close(programEnd);
    },
  };
}
