/** How much a finding matters: an error breaks a rule of the format, a warning is harmless so far, an info is no fault. */
export type FindingSeverity = 'error' | 'warning' | 'info';

/** Whether a check can set a finding right from what the file itself proves. */
export type FindingRepair = 'possible' | 'impossible' | 'not-needed';

/** One thing that a check of a disk file found. */
export interface CheckFinding {
  /** Names the rule, stable: the corruption reason of the format where opening refuses for it, too. */
  readonly code: string;
  readonly severity: FindingSeverity;
  /** Where in the file; null where it is no place. */
  readonly offsetBytes: number | null;
  /** What is wrong, as a sentence without its full stop. */
  readonly message: string;
  /** The value seen there. */
  readonly value?: string | number;
  readonly repair: FindingRepair;
}

/** What a check answers. */
export interface CheckResult {
  /** In the order of the file's structures; at most as many as the check keeps. */
  readonly findings: readonly CheckFinding[];
  /** Findings beyond those that are kept. */
  readonly moreFindings: number;
  /** Of the findings above, those that were set right: only when asked for. */
  readonly repaired: readonly CheckFinding[];
}

/** Whether the file breaks no rule, or none that is left: infos are no fault, and what was repaired is none any more. */
export function isSound({ findings, moreFindings, repaired }: CheckResult): boolean {
  return moreFindings === 0 && findings.every((each) => each.severity === 'info' || repaired.includes(each));
}
