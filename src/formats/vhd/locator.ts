import { decodeUtf16le, encodeUtf16le } from '../../binary/index.ts';
import { HvError } from '../../errors/index.ts';
import type { ByteStore } from '../../store/index.ts';
import type { ParentReference } from '../disk-image.ts';
import type { DynamicHeader } from './dynamic-header.ts';
import { MAX_LOCATOR_BYTES, PLATFORM } from './format.ts';

/** The paths that a new child is given. */
export interface VhdLocatorPaths {
  /** With backslashes, beginning with `.\` or `..\`; undefined where no relative path exists. */
  readonly relativePath: string | undefined;
  readonly absolutePath: string | undefined;
}

/** A locator that is to be written: its platform code and its bytes. */
export interface NewLocator {
  readonly platform: string;
  readonly bytes: Uint8Array;
}

/**
 * Who the parent is and where it may lie. Lenient: of several locators the newer kind counts, the old 8-bit ones and the
 * Macintosh's file URL stand in for them, and so does the parent's name in the header where there is no locator at all.
 * @throws HvError `io`
 */
export function readParentReference(store: ByteStore, header: DynamicHeader): ParentReference {
  const texts = new Map<string, string>();
  for (const { platform, fileOffset, length } of header.locators) {
    if (texts.has(platform) || length === 0 || length > MAX_LOCATOR_BYTES) continue;
    const bytes = new Uint8Array(length);
    store.read(fileOffset, bytes, 0, length);
    const text = decodeLocator(platform, bytes);
    if (text !== '') texts.set(platform, text);
  }
  const path = (...platforms: string[]): string | undefined =>
    platforms.map((platform) => texts.get(platform)).find((text) => text !== undefined);
  const relativePath = path(PLATFORM.relative, PLATFORM.oldRelative);
  const absolutePath = path(PLATFORM.absolute, PLATFORM.oldAbsolute) ?? pathOfUrl(texts.get(PLATFORM.macUrl));
  const name = header.parentName;
  const hasNone = relativePath === undefined && absolutePath === undefined && name !== '';
  const isPath = /[\\/]/.test(name);
  return {
    linkages: [header.parentUniqueId],
    relativePath: hasNone && !isPath ? `.\\${name}` : relativePath,
    volumePath: undefined,
    absolutePath: hasNone && isPath ? name : absolutePath,
    pairs: [...texts, ...(name === '' ? [] : [['parent_name', name] as const])],
  };
}

/** As Windows writes them: the absolute path, then the relative one. @throws HvError `invalid-argument` when a path is too long */
export function newLocators(paths: VhdLocatorPaths): NewLocator[] {
  const made: NewLocator[] = [];
  const add = (platform: string, path: string | undefined): void => {
    if (path === undefined) return;
    const bytes = encodeUtf16le(path);
    if (bytes.length > MAX_LOCATOR_BYTES) {
      throw new HvError('invalid-argument', 'the path of the parent is too long for a VHD file');
    }
    made.push({ platform, bytes });
  };
  add(PLATFORM.absolute, paths.absolutePath);
  add(PLATFORM.relative, paths.relativePath);
  return made;
}

function decodeLocator(platform: string, bytes: Uint8Array): string {
  const isWide = platform === PLATFORM.absolute || platform === PLATFORM.relative;
  const isUrl = platform === PLATFORM.macUrl;
  const text = isWide ? decodeUtf16le(bytes) : Buffer.from(bytes).toString(isUrl ? 'utf8' : 'latin1');
  const end = text.indexOf('\0');
  return end === -1 ? text : text.slice(0, end);
}

/** The path in a file URL of this machine; undefined for any other. */
function pathOfUrl(url: string | undefined): string | undefined {
  const match = /^file:\/\/(?:localhost)?(\/.*)$/i.exec(url ?? '');
  if (!match?.[1]) return undefined;
  try {
    const path = decodeURIComponent(match[1]);
    return path.includes('\0') ? undefined : path;
  } catch {
    return undefined; // No valid escapes: then it names nothing.
  }
}
