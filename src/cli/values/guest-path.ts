import { HvError } from '../../errors/index.ts';

/** A file of this host, or of a machine's guest. */
export type CopyEnd =
  | { readonly kind: 'local'; readonly path: string }
  | { readonly kind: 'guest'; readonly vm: string; readonly path: string };

/**
 * `web1:/etc/hosts` is a file of the guest of web1, and so is `web1:C:\\boot.ini`; anything else is a local path. A guest's
 * path is absolute and a machine's name holds no slash, so the name is what stands before the first slash or drive letter
 * with its colon: it may hold colons itself. A local file that looks like that is written `./name`.
 */
export function parseCopyEnd(text: string): CopyEnd {
  const found = /^(?<vm>[^/\\]+):(?<path>\/.*|[A-Za-z]:\\.*)$/s.exec(text)?.groups;
  if (found?.vm !== undefined && found.path !== undefined) return { kind: 'guest', vm: found.vm, path: found.path };
  if (text === '' || text.includes('\0')) {
    throw new HvError('invalid-argument', 'an empty path names no file', { hint: 'Write a path, or vm:/path.' });
  }
  return { kind: 'local', path: text };
}
