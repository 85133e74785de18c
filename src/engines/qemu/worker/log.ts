/** The worker's log: the keeper gave it a file as standard error. */
export function log(text: string): void {
  process.stderr.write(`${new Date().toISOString()} ${text}\n`);
}

export function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
