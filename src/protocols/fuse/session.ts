import { constants } from 'node:os';
import type { BlockDevice } from '../../disk/block-device.ts';
import { isHvError } from '../../errors/index.ts';
import { Tree, type View } from './tree.ts';
import {
  ATTR,
  ATTR_OUT,
  DIRENT,
  DT_DIR,
  DT_REG,
  ENTRY_OUT,
  FALLOCATE_IN,
  FallocateMode,
  FOPEN_DIRECT_IO,
  IN_HEADER,
  IN_HEADER_BYTES,
  INIT_IN,
  INIT_OUT,
  InitFlag,
  LSEEK_IN,
  MAX_TRANSFER_BYTES,
  O_ACCMODE,
  OPEN_IN,
  OPEN_OUT,
  Op,
  OUT_HEADER,
  OUT_HEADER_BYTES,
  PROTOCOL,
  READ_IN,
  ROOT_NODE,
  S_IFDIR,
  S_IFREG,
  SETATTR_IN,
  SetattrFlag,
  STATFS,
  Whence,
  WRITE_IN,
  WRITE_OUT_BYTES,
} from './wire.ts';

export interface FuseSessionOptions {
  readonly device: BlockDevice;
  readonly views: readonly View[];
  /** Whose the files are. */
  readonly uid: number;
  readonly gid: number;
}

const { errno: ERRNO } = constants;
/** Nothing ever changes but contents, which the kernel does not keep: names and sizes hold for long. */
const VALID_SECONDS = 3600n;
const BLOCK_BYTES = 512;
const PAGE_BYTES = 4096;
const MAX_BACKGROUND = 32;

/** A request that is answered with an error number. */
class Refusal {
  readonly errno: number;
  constructor(errno: number) {
    this.errno = errno;
  }
}

/**
 * Answers the kernel's requests for a folder of files that show a disk and its parts. Knows nothing of descriptors:
 * bytes in, bytes out. Requests come from the kernel, but what is in them from any user of the files.
 */
export class FuseSession {
  readonly #device: BlockDevice;
  readonly #tree: Tree;
  readonly #owner: { readonly uid: number; readonly gid: number };
  readonly #timeSeconds = BigInt(Math.floor(Date.now() / 1000));
  /** Reused: an answer is written out before the next request is taken. */
  readonly #answer = Buffer.alloc(OUT_HEADER_BYTES + MAX_TRANSFER_BYTES);
  #isInitialized = false;

  constructor(options: FuseSessionOptions) {
    this.#device = options.device;
    this.#tree = new Tree(options.views);
    this.#owner = { uid: options.uid, gid: options.gid };
  }

  /**
   * One request, one answer. The answer is valid until the next call; undefined where the kernel wants none.
   * A promise only for what waits for the storage; others may be handled meanwhile.
   */
  handle(request: Buffer): Buffer | undefined | Promise<Buffer> {
    if (request.length < IN_HEADER_BYTES) return undefined; // not from a kernel: there is no number to answer to
    const opcode = request.readUInt32LE(IN_HEADER.opcode);
    const unique = request.readBigUInt64LE(IN_HEADER.unique);
    if (opcode === Op.forget || opcode === Op.batchForget || opcode === Op.interrupt) return undefined;
    if (opcode === Op.fsync) return this.#flush(unique);
    try {
      const length = this.#perform(opcode, request);
      return this.#head(this.#answer, unique, 0, length);
    } catch (error) {
      return this.#head(this.#answer, unique, errnoOf(error), 0);
    }
  }

  /** Does what is asked and puts the result behind the answer's head. @returns the result's length */
  #perform(opcode: number, request: Buffer): number {
    const node = Number(request.readBigUInt64LE(IN_HEADER.node));
    const body = request.subarray(IN_HEADER_BYTES);
    if (opcode === Op.init) return this.#init(body);
    if (!this.#isInitialized) throw new Refusal(ERRNO.EIO);
    switch (opcode) {
      case Op.lookup:
        return this.#lookup(node, body);
      case Op.getattr:
        return this.#getattr(node);
      case Op.setattr:
        return this.#setattr(node, body);
      case Op.open:
        return this.#open(node, body);
      case Op.opendir:
        return node === ROOT_NODE ? this.#result(OPEN_OUT.bytes).length : refuse(ERRNO.ENOTDIR);
      case Op.read:
        return this.#read(node, body);
      case Op.write:
        return this.#write(node, body);
      case Op.readdir:
        return this.#readdir(node, body);
      case Op.statfs:
        return this.#statfs();
      case Op.fallocate:
        return this.#fallocate(node, body);
      case Op.lseek:
        return this.#lseek(node, body);
      // A write survives the death of this process once it is answered: closing a file has nothing to add.
      case Op.flush:
      case Op.release:
      case Op.releasedir:
      case Op.fsyncdir:
      case Op.destroy:
        return 0;
      default:
        return refuse(ERRNO.ENOSYS);
    }
  }

  async #flush(unique: bigint): Promise<Buffer> {
    const answer = Buffer.alloc(OUT_HEADER_BYTES);
    try {
      if (!this.#device.readOnly) await this.#device.flush();
      return this.#head(answer, unique, 0, 0);
    } catch (error) {
      return this.#head(answer, unique, errnoOf(error), 0);
    }
  }

  #init(body: Buffer): number {
    mustHold(body, INIT_IN.bytes);
    if (body.readUInt32LE(INIT_IN.major) !== PROTOCOL.major) throw new Refusal(ERRNO.EPROTO);
    const wanted = InitFlag.asyncRead | InitFlag.bigWrites | InitFlag.asyncDirectIo | InitFlag.maxPages;
    const result = this.#result(INIT_OUT.bytes);
    result.writeUInt32LE(PROTOCOL.major, INIT_OUT.major);
    result.writeUInt32LE(PROTOCOL.minor, INIT_OUT.minor);
    result.writeUInt32LE(body.readUInt32LE(INIT_IN.maxReadahead), INIT_OUT.maxReadahead);
    result.writeUInt32LE((body.readUInt32LE(INIT_IN.flags) & wanted) >>> 0, INIT_OUT.flags);
    result.writeUInt16LE(MAX_BACKGROUND, INIT_OUT.maxBackground);
    result.writeUInt16LE((MAX_BACKGROUND * 3) / 4, INIT_OUT.congestionThreshold);
    result.writeUInt32LE(MAX_TRANSFER_BYTES, INIT_OUT.maxWrite);
    result.writeUInt32LE(1, INIT_OUT.timeGranularity);
    result.writeUInt16LE(MAX_TRANSFER_BYTES / PAGE_BYTES, INIT_OUT.maxPages);
    this.#isInitialized = true;
    return result.length;
  }

  #lookup(node: number, body: Buffer): number {
    if (node !== ROOT_NODE) throw new Refusal(ERRNO.ENOTDIR);
    const end = body.indexOf(0);
    const found = this.#tree.find(body.toString('latin1', 0, end === -1 ? body.length : end));
    if (!found) throw new Refusal(ERRNO.ENOENT);
    const result = this.#result(ENTRY_OUT.bytes);
    result.writeBigUInt64LE(BigInt(found.node), ENTRY_OUT.node);
    result.writeBigUInt64LE(VALID_SECONDS, ENTRY_OUT.entryValid);
    result.writeBigUInt64LE(VALID_SECONDS, ENTRY_OUT.attrValid);
    this.#writeAttributes(result.subarray(ENTRY_OUT.attr), found.node);
    return result.length;
  }

  #getattr(node: number): number {
    const result = this.#result(ATTR_OUT.bytes);
    result.writeBigUInt64LE(VALID_SECONDS, ATTR_OUT.attrValid);
    this.#writeAttributes(result.subarray(ATTR_OUT.attr), node);
    return result.length;
  }

  /** A disk keeps its size, its owner and its mode; times are of no interest. */
  #setattr(node: number, body: Buffer): number {
    mustHold(body, SETATTR_IN.bytes);
    const valid = body.readUInt32LE(SETATTR_IN.valid);
    if ((valid & (SetattrFlag.mode | SetattrFlag.uid | SetattrFlag.gid)) !== 0) throw new Refusal(ERRNO.EPERM);
    if ((valid & SetattrFlag.size) !== 0) {
      const size = body.readBigUInt64LE(SETATTR_IN.size);
      if (size !== BigInt(this.#viewOf(node).sizeBytes)) throw new Refusal(ERRNO.EPERM);
    }
    return this.#getattr(node);
  }

  #open(node: number, body: Buffer): number {
    this.#viewOf(node);
    mustHold(body, OPEN_IN.bytes);
    const wantsWrite = (body.readUInt32LE(OPEN_IN.flags) & O_ACCMODE) !== 0;
    if (wantsWrite && this.#device.readOnly) throw new Refusal(ERRNO.EROFS);
    const result = this.#result(OPEN_OUT.bytes);
    result.writeUInt32LE(FOPEN_DIRECT_IO, OPEN_OUT.openFlags);
    return result.length;
  }

  #read(node: number, body: Buffer): number {
    const view = this.#viewOf(node);
    mustHold(body, READ_IN.bytes);
    const offset = offsetIn(body, READ_IN.offset);
    const wanted = Math.min(body.readUInt32LE(READ_IN.size), MAX_TRANSFER_BYTES);
    const length = Math.max(0, Math.min(wanted, view.sizeBytes - offset));
    if (length > 0) this.#device.read(view.offset + offset, this.#answer, OUT_HEADER_BYTES, length);
    return length;
  }

  /** Behind the end there is no space, as on a block device. */
  #write(node: number, body: Buffer): number {
    const view = this.#viewOf(node);
    mustHold(body, WRITE_IN.bytes);
    if (this.#device.readOnly) throw new Refusal(ERRNO.EROFS);
    const offset = offsetIn(body, WRITE_IN.offset);
    const given = Math.min(body.readUInt32LE(WRITE_IN.size), body.length - WRITE_IN.bytes);
    const length = Math.max(0, Math.min(given, view.sizeBytes - offset));
    if (length === 0 && given > 0) throw new Refusal(ERRNO.ENOSPC);
    if (length > 0) this.#device.write(view.offset + offset, body, WRITE_IN.bytes, length);
    const result = this.#result(WRITE_OUT_BYTES);
    result.writeUInt32LE(length, 0);
    return result.length;
  }

  #readdir(node: number, body: Buffer): number {
    if (node !== ROOT_NODE) throw new Refusal(ERRNO.ENOTDIR);
    mustHold(body, READ_IN.bytes);
    const room = Math.min(body.readUInt32LE(READ_IN.size), MAX_TRANSFER_BYTES);
    const entries = [
      { name: '.', node: ROOT_NODE, type: DT_DIR },
      { name: '..', node: ROOT_NODE, type: DT_DIR },
      ...this.#tree.views.map(({ name }, index) => ({ name, node: this.#tree.node(index), type: DT_REG })),
    ];
    let length = 0;
    for (let index = offsetIn(body, READ_IN.offset); index < entries.length; index++) {
      const entry = entries[index];
      if (!entry) break;
      const size = Math.ceil((DIRENT.name + entry.name.length) / 8) * 8;
      if (length + size > room) break;
      const at = OUT_HEADER_BYTES + length;
      this.#answer.fill(0, at, at + size);
      this.#answer.writeBigUInt64LE(BigInt(entry.node), at + DIRENT.ino);
      this.#answer.writeBigUInt64LE(BigInt(index + 1), at + DIRENT.next);
      this.#answer.writeUInt32LE(entry.name.length, at + DIRENT.namelen);
      this.#answer.writeUInt32LE(entry.type, at + DIRENT.type);
      this.#answer.write(entry.name, at + DIRENT.name, 'latin1');
      length += size;
    }
    return length;
  }

  #statfs(): number {
    const result = this.#result(STATFS.bytes);
    result.writeBigUInt64LE(BigInt(Math.floor(this.#device.sizeBytes / PAGE_BYTES)), STATFS.blocks);
    result.writeBigUInt64LE(BigInt(this.#tree.views.length + 1), STATFS.files);
    result.writeUInt32LE(PAGE_BYTES, STATFS.bsize);
    result.writeUInt32LE(64, STATFS.namelen);
    result.writeUInt32LE(PAGE_BYTES, STATFS.frsize);
    return result.length;
  }

  /** Punched holes and zeroed ranges: what a loop device sends for discards and for writing zeros. */
  #fallocate(node: number, body: Buffer): number {
    const view = this.#viewOf(node);
    mustHold(body, FALLOCATE_IN.bytes);
    if (this.#device.readOnly) throw new Refusal(ERRNO.EROFS);
    const mode = body.readUInt32LE(FALLOCATE_IN.mode) & ~FallocateMode.keepSize;
    if (mode !== FallocateMode.punchHole && mode !== FallocateMode.zeroRange) throw new Refusal(ERRNO.EOPNOTSUPP);
    const offset = offsetIn(body, FALLOCATE_IN.offset);
    const length = Math.min(offsetIn(body, FALLOCATE_IN.length), view.sizeBytes - offset);
    if (length > 0) this.#device.writeZeroes(view.offset + offset, length, mode === FallocateMode.punchHole);
    return 0;
  }

  #lseek(node: number, body: Buffer): number {
    const view = this.#viewOf(node);
    mustHold(body, LSEEK_IN.bytes);
    const whence = body.readUInt32LE(LSEEK_IN.whence);
    if (whence !== Whence.data && whence !== Whence.hole) throw new Refusal(ERRNO.EINVAL);
    const offset = offsetIn(body, LSEEK_IN.offset);
    if (offset >= view.sizeBytes) throw new Refusal(ERRNO.ENXIO);
    const found = this.#seek(view, offset, whence === Whence.data);
    if (found === undefined) throw new Refusal(ERRNO.ENXIO);
    const result = this.#result(8);
    result.writeBigUInt64LE(BigInt(found), 0);
    return result.length;
  }

  /** The next byte that holds data, or that holds none; behind the last data lies the hole of the end. */
  #seek(view: View, offset: number, wantsData: boolean): number | undefined {
    for (const extent of this.#device.extents(view.offset + offset, view.sizeBytes - offset)) {
      if ((extent.kind === 'data') === wantsData) return extent.offset - view.offset;
    }
    return wantsData ? undefined : view.sizeBytes;
  }

  #viewOf(node: number): View {
    return this.#tree.view(node) ?? refuse(node === ROOT_NODE ? ERRNO.EISDIR : ERRNO.ENOENT);
  }

  #writeAttributes(attributes: Buffer, node: number): void {
    const view = node === ROOT_NODE ? undefined : this.#viewOf(node);
    const permissions = this.#device.readOnly ? 0o400 : 0o600;
    attributes.writeBigUInt64LE(BigInt(node), ATTR.ino);
    attributes.writeBigUInt64LE(BigInt(view?.sizeBytes ?? 0), ATTR.size);
    attributes.writeBigUInt64LE(BigInt(Math.ceil((view?.sizeBytes ?? 0) / BLOCK_BYTES)), ATTR.blocks);
    for (const time of [ATTR.atime, ATTR.mtime, ATTR.ctime]) attributes.writeBigUInt64LE(this.#timeSeconds, time);
    attributes.writeUInt32LE(view ? S_IFREG | permissions : S_IFDIR | 0o500, ATTR.mode);
    attributes.writeUInt32LE(view ? 1 : 2, ATTR.nlink);
    attributes.writeUInt32LE(this.#owner.uid, ATTR.uid);
    attributes.writeUInt32LE(this.#owner.gid, ATTR.gid);
    attributes.writeUInt32LE(PAGE_BYTES, ATTR.blksize);
  }

  /** Room for a result, all zeros, behind the answer's head. */
  #result(length: number): Buffer {
    return this.#answer.subarray(OUT_HEADER_BYTES, OUT_HEADER_BYTES + length).fill(0);
  }

  #head(answer: Buffer, unique: bigint, errno: number, length: number): Buffer {
    answer.writeUInt32LE(OUT_HEADER_BYTES + length, OUT_HEADER.length);
    answer.writeInt32LE(errno === 0 ? 0 : -errno, OUT_HEADER.error);
    answer.writeBigUInt64LE(unique, OUT_HEADER.unique);
    return answer.subarray(0, OUT_HEADER_BYTES + length);
  }
}

function refuse(errno: number): never {
  throw new Refusal(errno);
}

function mustHold(body: Buffer, length: number): void {
  if (body.length < length) throw new Refusal(ERRNO.EINVAL);
}

/** 64 bits that must be a place within reach of a disk. */
function offsetIn(body: Buffer, at: number): number {
  const offset = Number(body.readBigUInt64LE(at));
  return Number.isSafeInteger(offset) ? offset : refuse(ERRNO.EINVAL);
}

function errnoOf(error: unknown): number {
  if (error instanceof Refusal) return error.errno;
  if (isHvError(error, 'no-space')) return ERRNO.ENOSPC;
  if (isHvError(error, 'permission-denied')) return ERRNO.EACCES;
  return ERRNO.EIO;
}
