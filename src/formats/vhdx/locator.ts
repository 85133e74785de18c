import { decodeUtf16le, encodeUtf16le, isGuid, parseGuid, readGuid, writeGuid, ZERO_GUID } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ParentReference } from '../disk-image.ts';
import { corrupt } from './corruption.ts';
import { LOCATOR_COUNT_AT, LOCATOR_ENTRY_BYTES, LOCATOR_HEADER_BYTES, VHDX_LOCATOR_TYPE } from './format.ts';

/** Who the parent is and where it may lie (2.6.2.6). Pairs as they lie in the file; unknown keys survive a rewrite. */
export type ParentLocator = ParentReference;

const LINKAGE = 'parent_linkage';
const LINKAGE2 = 'parent_linkage2';
const RELATIVE = 'relative_path';
const VOLUME = 'volume_path';
const ABSOLUTE = 'absolute_win32_path';

/** Reads a locator leniently: an empty value, a terminating NUL and a zero parent_linkage2 occur in real files. @throws HvError `corrupt`, `unsupported` */
export function parseLocator(name: string, bytes: Uint8Array, fileOffset: number): ParentLocator {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < LOCATOR_HEADER_BYTES) throw corrupt(name, 'locator-range', fileOffset, bytes.length);
  const type = readGuid(bytes, 0);
  if (type !== VHDX_LOCATOR_TYPE) {
    throw new HvError('unsupported', `the parent of ${name} is of a kind that hv does not know (${type})`, {
      detail: { path: name, locatorType: type },
    });
  }
  const count = view.getUint16(LOCATOR_COUNT_AT, true);
  if (LOCATOR_HEADER_BYTES + count * LOCATOR_ENTRY_BYTES > bytes.length) {
    throw corrupt(name, 'locator-range', fileOffset + LOCATOR_COUNT_AT, count);
  }
  const values = new Map<string, string>();
  for (let index = 0; index < count; index++) {
    const at = LOCATOR_HEADER_BYTES + index * LOCATOR_ENTRY_BYTES;
    const text = (offset: number, length: number): string => {
      if (offset + length > bytes.length) throw corrupt(name, 'locator-range', fileOffset + at, `${offset}+${length}`);
      return decodeUtf16le(bytes, offset, offset + length).replace(/\0+$/, '');
    };
    const key = text(view.getUint32(at, true), view.getUint16(at + 8, true));
    if (values.has(key)) throw corrupt(name, 'locator-duplicate', fileOffset + at, key);
    values.set(key, text(view.getUint32(at + 4, true), view.getUint16(at + 10, true)));
  }
  const linkages = [LINKAGE, LINKAGE2]
    .map((key) => values.get(key) ?? '')
    .filter(isGuid)
    .map(parseGuid)
    .filter((guid) => guid !== ZERO_GUID);
  if (linkages.length === 0) throw corrupt(name, 'locator-linkage', fileOffset, values.get(LINKAGE) ?? '');
  return {
    linkages,
    relativePath: values.get(RELATIVE) || undefined,
    volumePath: values.get(VOLUME) || undefined,
    absolutePath: values.get(ABSOLUTE) || undefined,
    pairs: [...values],
  };
}

export interface LocatorPaths {
  /** With backslashes, beginning with `.\` or `..\`; undefined where no relative path exists. */
  readonly relativePath: string | undefined;
  readonly absolutePath: string | undefined;
}

/** The pairs of a new locator, in the order that Windows writes. */
export function locatorPairs(linkage: string, linkage2: string, paths: LocatorPaths): [string, string][] {
  return [
    [LINKAGE, `{${linkage}}`],
    ...(paths.absolutePath === undefined ? [] : [[ABSOLUTE, paths.absolutePath] as [string, string]]),
    ...(paths.relativePath === undefined ? [] : [[RELATIVE, paths.relativePath] as [string, string]]),
    [LINKAGE2, `{${linkage2}}`],
  ];
}

/** A locator's pairs with another parent; what is neither linkage nor path stays. */
export function withParent(
  pairs: readonly (readonly [string, string])[],
  linkage: string,
  paths: LocatorPaths,
): [string, string][] {
  const own = new Set([LINKAGE, LINKAGE2, RELATIVE, VOLUME, ABSOLUTE]);
  const rest = pairs.filter(([key]) => !own.has(key)).map(([key, value]): [string, string] => [key, value]);
  return [...locatorPairs(linkage, ZERO_GUID, paths), ...rest];
}

/** A locator's pairs with other linkages; everything else stays. */
export function withLinkages(
  pairs: readonly (readonly [string, string])[],
  linkage: string,
  linkage2: string,
): [string, string][] {
  const rest = pairs
    .filter(([key]) => key !== LINKAGE && key !== LINKAGE2)
    .map(([key, value]): [string, string] => [key, value]);
  return [[LINKAGE, `{${linkage}}`], ...rest, [LINKAGE2, `{${linkage2}}`]];
}

/** The bytes of a locator item. @throws HvError `invalid-argument` when a text is too long for the format */
export function encodeLocator(pairs: readonly (readonly [string, string])[]): Uint8Array {
  // An empty value has no place in the format: its length must be above zero.
  const texts = pairs
    .filter(([, value]) => value !== '')
    .map(([key, value]) => [encodeUtf16le(key), encodeUtf16le(value)] as const);
  const head = LOCATOR_HEADER_BYTES + texts.length * LOCATOR_ENTRY_BYTES;
  const bytes = new Uint8Array(texts.reduce((sum, [key, value]) => sum + key.length + value.length, head));
  const view = new DataView(bytes.buffer);
  writeGuid(bytes, 0, VHDX_LOCATOR_TYPE);
  view.setUint16(LOCATOR_COUNT_AT, texts.length, true);
  let at = head;
  texts.forEach(([key, value], index) => {
    if (value.length > 0xffff)
      throw new HvError('invalid-argument', 'the path of the parent is too long for a VHDX file');
    const entryAt = LOCATOR_HEADER_BYTES + index * LOCATOR_ENTRY_BYTES;
    view.setUint32(entryAt, at, true);
    view.setUint32(entryAt + 4, at + key.length, true);
    view.setUint16(entryAt + 8, key.length, true);
    view.setUint16(entryAt + 10, value.length, true);
    bytes.set(key, at);
    bytes.set(value, at + key.length);
    at += key.length + value.length;
  });
  return bytes;
}
