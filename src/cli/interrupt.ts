import { HvError } from '../errors/index.ts';
import { EXIT } from './exit-status.ts';

/** The first Ctrl-C or SIGTERM asks the command to stop and leave things in order; the second leaves at once. */
export function listenForInterrupts(stderr: NodeJS.WriteStream): { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const onSignal = (name: NodeJS.Signals): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    if (stderr.isTTY) stderr.write('\nStopping; once more to leave at once.\n');
    controller.abort(new HvError('aborted', 'interrupted', { detail: { signal: name } }));
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return { signal: controller.signal };
}
