import { isHvError } from '../../../errors/index.ts';
import { describe, log } from '../log.ts';
import { serveMount } from './serve-mount.ts';
import { mountOrderSchema } from './wire.ts';

/** The worker of one mounted disk, started by a command: `main.js`, with the order as the first message. */
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
