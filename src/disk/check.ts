import { type LongOptions, throwIfAborted } from '../async/index.ts';
import { isHvError } from '../errors/index.ts';
import { type CheckFinding, type CheckResult, isSound } from '../formats/check-finding.ts';
import { checkVhd as checkVhdFile } from '../formats/vhd/index.ts';
import { checkVhdx } from '../formats/vhdx/index.ts';
import { type DiskFormat, formatOf } from './disk-format.ts';
import { hostRun, openImageFile } from './open-file.ts';
import { type LinkState, readChain } from './read-chain.ts';

export interface CheckVhdOptions extends LongOptions {
  readonly format?: DiskFormat | undefined;
  /** Set right what the file itself proves. */
  readonly repair?: boolean | undefined;
  /** Where parents may lie beside their children's own folders. */
  readonly allowParents?: readonly string[] | undefined;
}

export interface VhdCheck extends CheckResult {
  readonly path: string;
  readonly format: DiskFormat;
  /** It breaks no rule of its format, or none that is left, and its parents are what they must be. */
  readonly isSound: boolean;
}

/**
 * Checks a disk file against every rule of its format, and that its parents are there and unchanged. Files that are
 * refused when they are opened are checked as far as they can be read. A raw file has no rules to break.
 * A repair does only what the file proves; see checkVhdx. Parents are never written.
 * Windows: no counterpart in one call; ERROR_FILE_CORRUPT and its kin of OpenVirtualDisk name single rules.
 * @throws HvError `not-found`, `in-use`, `permission-denied`, `unsupported` (a format that hv does not know), `io`, `no-space`, `aborted`
 */
export async function checkVhd(path: string, options: CheckVhdOptions = {}): Promise<VhdCheck> {
  throwIfAborted(options.signal, 'checking the disk');
  const format = formatOf(path, options.format);
  const file = openImageFile(path, { access: options.repair ? 'write' : 'read' });
  let result: CheckResult;
  try {
    result = await checkFormat(format, file.store, options);
  } finally {
    file.store.close();
  }
  const links = format === 'raw' ? [] : checkLinks(file.path, options.allowParents ?? []);
  const all: CheckResult = { ...result, findings: [...result.findings, ...links] };
  return { path: file.path, format, isSound: isSound(all), ...all };
}

async function checkFormat(
  format: DiskFormat,
  store: ReturnType<typeof openImageFile>['store'],
  options: CheckVhdOptions,
): Promise<CheckResult> {
  switch (format) {
    case 'vhdx':
      return checkVhdx(store, { ...options, hostRun: hostRun() });
    case 'vhd':
      return checkVhdFile(store, options);
    case 'raw':
      return { findings: [], moreFindings: 0, repaired: [] };
  }
}

type BrokenLink = Exclude<LinkState, 'ok'>;

const LINK_FINDINGS: Readonly<
  Record<BrokenLink, { readonly code: string; readonly severity: CheckFinding['severity']; readonly text: string }>
> = {
  changed: { code: 'parent-changed', severity: 'error', text: 'was written to after' },
  missing: { code: 'parent-missing', severity: 'error', text: 'is not there for' },
  'not-allowed': { code: 'parent-not-allowed', severity: 'info', text: 'lies outside of the folder of' },
  unreadable: { code: 'parent-unreadable', severity: 'error', text: 'cannot be read for' },
  cycle: { code: 'chain-cycle', severity: 'error', text: 'is a child of' },
  'too-deep': { code: 'chain-too-deep', severity: 'error', text: 'is one too many above' },
};

/** How each file of the chain stands to its parent. A leaf that cannot be read was found so by the check of its format. */
function checkLinks(path: string, allowParents: readonly string[]): CheckFinding[] {
  let chain: ReturnType<typeof readChain>;
  try {
    chain = readChain(path, { allowParents });
  } catch (error) {
    if (isHvError(error, 'corrupt') || isHvError(error, 'unsupported')) return [];
    throw error;
  }
  const findings: CheckFinding[] = [];
  chain.forEach((child, index) => {
    const { parent } = child;
    const above = chain[index + 1];
    if (parent && parent.state !== 'ok') {
      const { code, severity, text } = LINK_FINDINGS[parent.state];
      findings.push(linkFinding(code, severity, `the parent ${parent.path ?? ''} ${text} ${child.path}`, parent.path));
    }
    if (above && above.logicalSectorSizeBytes !== child.logicalSectorSizeBytes) {
      const message = `the parent ${above.path} has another sector size than ${child.path}`;
      findings.push(linkFinding('parent-sector-size', 'error', message, String(above.logicalSectorSizeBytes)));
    }
  });
  return findings;
}

function linkFinding(
  code: string,
  severity: CheckFinding['severity'],
  message: string,
  value: string | null,
): CheckFinding {
  return {
    code,
    severity,
    offsetBytes: null,
    message,
    ...(value === null ? {} : { value }),
    repair: severity === 'info' ? 'not-needed' : 'impossible',
  };
}
