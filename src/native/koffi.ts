import { createRequire } from 'node:module';

/** The part of koffi that the bindings use. Loosely typed as it comes; each binding casts its functions once. */
export interface Koffi {
  load(path: string | null): { func(definition: string): NativeFunction };
  address(value: ArrayBufferView): bigint;
  errno(): number;
}

export interface NativeFunction {
  (...args: unknown[]): unknown;
  async(...args: unknown[]): void;
}

let loaded: { readonly koffi: Koffi | undefined } | undefined;

/**
 * Koffi, loaded at the first question; undefined where the optional package is absent, has no binary for this system,
 * or is turned off with HV_NO_FFI=1. Asking costs nothing after the first time.
 */
export function loadKoffi(): Koffi | undefined {
  loaded ??= { koffi: tryLoad() };
  return loaded.koffi;
}

function tryLoad(): Koffi | undefined {
  if (process.env.HV_NO_FFI === '1') return undefined;
  try {
    return createRequire(import.meta.url)('koffi') as Koffi; // the one untyped edge: a CommonJS module
  } catch {
    // Absent or unloadable is the same answer: this host has no FFI, and every caller has its plain way.
    return undefined;
  }
}
