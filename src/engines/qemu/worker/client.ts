import { ControlClient } from '../control/client.ts';
import { SOCKETS } from '../qemu-arguments.ts';
import { WIRE_VERSION, type WorkerCall } from './wire.ts';

/** A command's connection to the worker of one machine. @throws HvError `not-found`, `io`, `unsupported` (another version) */
export async function connectWorker(
  runFolder: string,
  options: { readonly waitForSocketMs?: number } = {},
): Promise<ControlClient> {
  const client = await ControlClient.connect(`${runFolder}/${SOCKETS.control}`, "the machine's worker", options);
  try {
    await client.call(order({ op: 'hello', version: WIRE_VERSION }));
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
