import { type LongOptions, throttleProgress, throwIfAborted } from '../../async/index.ts';
import { HvError, invariant } from '../../errors/index.ts';
import type { DiskImage } from '../../formats/disk-image.ts';
import { childOf } from '../child-file.ts';
import { checkedImage, writeNewImage } from '../create-file.ts';
import { failureOf, NewFile } from '../new-file.ts';
import { closeQuietly, MAX_CHAIN_DEPTH, openImageChain } from '../open-chain.ts';
import { openImage } from '../open-image.ts';
import { type ConvertOptions, type ConvertResult, resultOf, sizeFor, type Target } from './conversion.ts';
import { ChainSource, type DiskSource } from './disk-source.ts';
import { pairedRuns } from './paired-runs.ts';
import { isZero, turn, ZEROS } from './scan.ts';

const BUFFER_BYTES = ZEROS.length;
/** The unit in which the disks are told apart: no smaller than any sector. */
const UNIT_BYTES = 4096;

/**
 * Makes a differencing disk that reads as the source does, and holds only what its parent has not.
 * @throws HvError as convertVhd
 */
export async function convertToChild(
  source: DiskSource,
  target: Target,
  options: ConvertOptions,
): Promise<ConvertResult> {
  const { parentPath, allowParents = [], signal } = options;
  invariant(parentPath !== undefined, 'a differencing target has a parent');
  const layers = openImageChain(parentPath, { readOnly: true, allowParents, signal });
  try {
    const parent = new ChainSource(layers);
    if (layers.length >= MAX_CHAIN_DEPTH) {
      throw new HvError('unsupported', `${parent.path} is the end of a chain that is as deep as one may be`, {
        detail: { path: target.path, parentPath: parent.path, maxDepth: MAX_CHAIN_DEPTH },
      });
    }
    const sizeBytes = sizeFor(source, parent.logicalSectorSizeBytes, options);
    checkChild(target, parent, sizeBytes, options);
    const { physicalSectorSizeBytes, blockSizeBytes } = options;
    const image = checkedImage(
      childOf(target.path, parent.leaf, { sizeBytes, blockSizeBytes, physicalSectorSizeBytes }),
    );
    if (options.dryRun === true) return resultOf(source, target, image.spec, undefined, 0);
    const file = new NewFile(target.path);
    let child: DiskImage | undefined;
    try {
      writeNewImage(file.store, image);
      child = openImage(file.store, { readOnly: false, format: image.format === 'raw' ? undefined : image.format });
      child.setParent(parent.leaf.image);
      const copiedBytes = await copyDifferences(source, parent, child, options);
      await child.flush();
      child.seal();
      file.publish();
      return resultOf(source, target, image.spec, file.store, copiedBytes);
    } catch (error) {
      // A flush in the background may be under way: the file is not closed before it is over.
      await child?.close().catch(() => undefined);
      file.discard();
      throw failureOf(target.path, error);
    } finally {
      file.store.close();
    }
  } finally {
    closeQuietly(layers);
  }
}

function checkChild(target: Target, parent: ChainSource, sizeBytes: number, options: ConvertOptions): void {
  const detail = { path: target.path, parentPath: parent.path };
  if (target.format !== parent.format) {
    throw new HvError('unsupported', `a differencing disk has its parent's format, ${parent.format}`, { detail });
  }
  if (sizeBytes < parent.sizeBytes) {
    throw new HvError(
      'invalid-argument',
      `a differencing disk cannot be smaller than its parent (${parent.sizeBytes} bytes)`,
      { detail: { ...detail, sizeBytes } },
    );
  }
  const logical = options.logicalSectorSizeBytes ?? parent.logicalSectorSizeBytes;
  if (logical !== parent.logicalSectorSizeBytes) {
    throw new HvError(
      'invalid-argument',
      `a differencing disk has its parent's sector size, ${parent.logicalSectorSizeBytes} bytes`,
      { detail },
    );
  }
  if (options.virtualDiskId !== undefined && options.virtualDiskId !== 'new') {
    throw new HvError('invalid-argument', "a differencing disk has its parent's id", { detail });
  }
}

async function copyDifferences(
  source: DiskSource,
  parent: DiskSource,
  child: DiskImage,
  options: LongOptions,
): Promise<number> {
  const report = throttleProgress(options.onProgress);
  const total = source.sizeBytes;
  const a = Buffer.allocUnsafe(BUFFER_BYTES);
  const b = Buffer.allocUnsafe(BUFFER_BYTES);
  const writer = new DifferenceWriter(child);
  for (const run of pairedRuns(source, parent)) {
    for (let done = 0; done < run.length; ) {
      const count = Math.min(BUFFER_BYTES, run.length - done);
      run.first?.store.read(run.first.fileOffset + done, a, 0, count);
      run.second?.store.read(run.second.fileOffset + done, b, 0, count);
      writer.add(run.offset + done, run.first ? a : ZEROS, run.second ? b : ZEROS, count);
      done += count;
      report({ phase: 'copy', done: run.offset + done, total });
      await turn();
      throwIfAborted(options.signal, 'copying the disk');
    }
  }
  writer.flushZeros();
  report({ phase: 'copy', done: total, total });
  return writer.writtenBytes;
}

/** Writes what differs; zeros that follow each other as one, so that whole blocks of them take no space. */
class DifferenceWriter {
  writtenBytes = 0;
  readonly #child: DiskImage;
  #zerosAt = 0;
  #zeros = 0;

  constructor(child: DiskImage) {
    this.#child = child;
  }

  add(offset: number, wanted: Buffer, inherited: Buffer, length: number): void {
    let from = -1;
    for (let at = 0; at < length; ) {
      const count = Math.min(length - at, UNIT_BYTES - ((offset + at) % UNIT_BYTES));
      const isSame = wanted.compare(inherited, at, at + count, at, at + count) === 0;
      const isZeros = !isSame && isZero(wanted, at, count);
      if ((isSame || isZeros) && from >= 0) {
        this.#write(offset + from, wanted, from, at - from);
        from = -1;
      }
      if (isZeros) this.#addZeros(offset + at, count);
      if (!isSame && !isZeros && from < 0) from = at;
      at += count;
    }
    if (from >= 0) this.#write(offset + from, wanted, from, length - from);
  }

  flushZeros(): void {
    const count = this.#zeros;
    this.#zeros = 0;
    if (count > 0) this.#child.writeZeroes(this.#zerosAt, count, true);
  }

  #addZeros(offset: number, length: number): void {
    if (this.#zerosAt + this.#zeros !== offset) this.flushZeros();
    if (this.#zeros === 0) this.#zerosAt = offset;
    this.#zeros += length;
  }

  #write(offset: number, bytes: Buffer, start: number, length: number): void {
    this.#child.write(offset, bytes, start, length);
    this.writtenBytes += length;
  }
}
