import { isHvError } from '../../../errors/index.ts';
import { DataPlane } from '../../../protocols/nbd/index.ts';
import { describe, log } from '../log.ts';

/** The worker of one machine, started by the keeper: `main.js <home> <run> <vm id>`. */
const EXIT_DISK_FAILURE = 74;

const [, , home, run, vmId] = process.argv;
if (home === undefined || run === undefined || vmId === undefined) {
  process.stderr.write('usage: main.js <home> <run> <vm id>\n');
  process.exit(2);
}
try {
  // The disks' thread loads its part while this one loads the rest.
  const diskThread = DataPlane.start({
    onFailure: (error) => {
      log(`the disk thread failed: ${describe(error)}`);
      process.exit(EXIT_DISK_FAILURE); // the keeper starts a successor; QEMU waits for it
    },
  });
  diskThread.catch(() => {}); // met again where it is awaited
  const { serveMachine } = await import('./serve-machine.ts');
  await serveMachine({ home, run, vmId, diskThread });
} catch (error) {
  log(describe(error));
  // The keeper passes the reason on to whoever asked for this worker.
  const reason = isHvError(error) ? error.toJSON() : { code: 'internal', message: 'the worker failed' };
  if (process.send) process.send({ error: reason }, () => process.exit(1));
  else process.exit(1);
}
