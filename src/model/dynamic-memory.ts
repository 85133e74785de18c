/** Memory that follows what the guest needs (Msvm_MemorySettingData); `memoryBytes` is what it starts with. */
export interface DynamicMemory {
  /** At most `memoryBytes`. */
  readonly minimumBytes: number;
  /** At least `memoryBytes`. */
  readonly maximumBytes: number;
  /** Kept free in the guest, in percent of what it uses: 5 to 200. */
  readonly bufferPercent: number;
  /** Whose need is met first where memory is scarce: 0 to 10000. */
  readonly priority: number;
}

export const DEFAULT_MEMORY_BUFFER_PERCENT = 20;
export const DEFAULT_MEMORY_PRIORITY = 5000;
