/**
 * The rooms below the facade that the command line reaches directly, each for one thing that no facade object offers:
 * the table of legal moves (to answer --dry-run) and how a drive's place is written, the builder of templates, the NBD service, and SCSI commands. Loaded only when used.
 */
export { judgeMove, showAddress, type VmAction, validName } from '../model/index.ts';

export async function loadTemplateBuilder(): Promise<typeof import('../provision/index.ts')> {
  return import('../provision/index.ts');
}

export async function loadDiskServer(): Promise<typeof import('../protocols/nbd/index.ts')> {
  return import('../protocols/nbd/index.ts');
}

export async function loadScsi(): Promise<typeof import('../protocols/scsi/index.ts')> {
  return import('../protocols/scsi/index.ts');
}
