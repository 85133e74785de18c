/** The unit in which a block's old contents are made safe. */
export const GRAIN_BYTES = 64 * 1024;
const MAX_BLOCKS = 16_384;

/**
 * Above a parent a sector is new as soon as its bit is set, and nothing but a flush orders the bit behind the sector's
 * data. So before a bit is set, what lies under it must be, durably, either the new data or what the sector reads as
 * without the bit. This remembers, for blocks of this session, where that is known: grains into which the parent's
 * contents were copied and flushed, and blocks that were handed out as durable zeros.
 */
export class OldContents {
  readonly #blocks = new Map<number, { readonly isFresh: boolean; readonly grains: Uint8Array }>();
  readonly #grainCount: number;

  constructor(blockSizeBytes: number) {
    this.#grainCount = Math.ceil(blockSizeBytes / GRAIN_BYTES);
  }

  /** The block's payload was durable zeros when it got its place. */
  isFresh(block: number): boolean {
    return this.#blocks.get(block)?.isFresh ?? false;
  }

  /** Whether the parent's contents lie durably under every sector of a range that is not present. */
  areSafe(block: number, inBlock: number, length: number): boolean {
    const grains = this.#blocks.get(block)?.grains;
    if (!grains) return false;
    const last = Math.floor((inBlock + length - 1) / GRAIN_BYTES);
    for (let grain = Math.floor(inBlock / GRAIN_BYTES); grain <= last; grain++) if (grains[grain] !== 1) return false;
    return true;
  }

  begin(block: number, isFresh: boolean): void {
    if (this.#blocks.size >= MAX_BLOCKS) this.#blocks.clear();
    this.#blocks.set(block, { isFresh, grains: new Uint8Array(this.#grainCount) });
  }

  /** The whole grains of this range are safe from now on; nothing else of the block is thereby fresh no more. */
  markSafe(block: number, inBlock: number, length: number): void {
    if (!this.#blocks.has(block)) this.begin(block, false);
    const end = Math.ceil((inBlock + length) / GRAIN_BYTES);
    this.#blocks.get(block)?.grains.fill(1, Math.floor(inBlock / GRAIN_BYTES), end);
  }

  forget(block: number): void {
    this.#blocks.delete(block);
  }
}
