import type { CheckFinding } from './check-finding.ts';

/** A damaged table can hold millions of wrong entries; the first say what there is to say. */
const MAX_FINDINGS = 1000;

/** Findings as they are made, bounded. */
export class FindingList {
  readonly #findings: CheckFinding[] = [];
  #more = 0;
  #hasErrors = false;

  add(finding: CheckFinding): void {
    if (finding.severity === 'error') this.#hasErrors = true;
    if (this.#findings.length < MAX_FINDINGS) this.#findings.push(finding);
    else this.#more++;
  }

  get findings(): readonly CheckFinding[] {
    return this.#findings;
  }

  /** How many were made beyond those that are kept. */
  get moreFindings(): number {
    return this.#more;
  }

  get hasErrors(): boolean {
    return this.#hasErrors;
  }
}
