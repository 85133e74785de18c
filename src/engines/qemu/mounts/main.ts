import { isHvError } from '../../../errors/index.ts';
import { describe, log } from '../log.ts';
import { isReady, serveMount } from './serve-mount.ts';
import { mountOrderSchema } from './wire.ts';

/** The worker of one mounted disk, started by a command: `main.js`, with the order as the first message. */
// Whoever ordered this is gone before it was ready: nobody knows of it, and what is half made is cleaned up by the next one.
process.once('disconnect', leaveUnlessReady);
process.once('message', (message) => {
  serveMount(mountOrderSchema.parse(message)).then(
    () => process.exit(0),
    (error: unknown) => {
      log(describe(error));
      const reason = isHvError(error) ? error.toJSON() : { code: 'internal', message: 'the worker failed' };
      if (process.connected && process.send) process.send({ error: reason }, () => process.exit(1));
      else process.exit(1);
    },
  );
});

function leaveUnlessReady(): void {
  if (!isReady()) process.exit(1);
}
