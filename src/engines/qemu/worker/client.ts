import { basename } from 'node:path';
import { HvError } from '../../../errors/index.ts';
import { shortId } from '../../../state/index.ts';
import { ControlClient } from '../control/client.ts';
import { SOCKETS } from '../sockets.ts';
import { helloSchema, WIRE_VERSION, type WorkerCall } from './wire.ts';

/** A command's connection to the worker of one machine. @throws HvError `not-found`, `io`, `unsupported` (another version), `permission-denied` */
export async function connectWorker(
  runFolder: string,
  options: { readonly waitForSocketMs?: number } = {},
): Promise<ControlClient> {
  const client = await ControlClient.connect(`${runFolder}/${SOCKETS.control}`, "the machine's worker", options);
  try {
    const { vmId } = await client.ask(order({ op: 'hello', version: WIRE_VERSION }), helloSchema);
    // The machine's own user owns the folder, and may have put another machine's socket there.
    if (shortId(vmId) !== basename(runFolder)) {
      throw new HvError('permission-denied', `${runFolder} leads to the worker of another machine`, {
        detail: { path: runFolder, id: vmId },
      });
    }
  } catch (error) {
    await client.close();
    throw error;
  }
  return client;
}

/** Has the compiler check an order against the protocol. */
export function order(call: WorkerCall): WorkerCall {
  return call;
}
