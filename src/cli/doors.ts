/**
 * The rooms below the facade that the command line reaches directly, each for one thing that no facade object offers:
 * the table of legal moves and the rules for names, keys and pairs (to answer --dry-run), how a drive's place is written, the builder of templates, the NBD service, and SCSI commands. Loaded only when used.
 */
export {
  judgeMove,
  parseKeys,
  showAddress,
  typedKeys,
  type VmAction,
  validName,
  validPair,
  WAIT_CONDITIONS,
} from '../model/index.ts';

export async function loadTemplateBuilder(): Promise<typeof import('../provision/index.ts')> {
  return import('../provision/index.ts');
}

export async function loadDiskServer(): Promise<typeof import('../protocols/nbd/index.ts')> {
  return import('../protocols/nbd/index.ts');
}

export async function loadScsi(): Promise<typeof import('../protocols/scsi/index.ts')> {
  return import('../protocols/scsi/index.ts');
}
