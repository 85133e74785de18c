import { HvError, isHvError } from '../../../errors/index.ts';
import { ensureFolders, resolvePaths } from '../../../state/index.ts';
import { acquireLock } from '../../../system/index.ts';
import { type Connection, ControlServer } from '../control/server.ts';
import { describe, log } from '../log.ts';
import { Keeper } from './keeper.ts';
import { keeperRequestSchema } from './wire.ts';

/**
 * The keeper of one home, started with its first machine and gone with its last: `main.js <home> <run>`.
 * A lock makes it the only one; it is killed without harm, because workers and machines do not depend on it.
 */
const LINGER_MS = 3000;

async function main(home: string, run: string): Promise<void> {
  process.title = 'hv-keeper';
  const paths = resolvePaths({ home, run });
  await ensureFolders(paths);
  const lock = await takeLock(paths.keeperLock);
  if (!lock) return; // another keeper is there
  let linger: NodeJS.Timeout | undefined;
  const lingerThenLeave = (): void => {
    clearTimeout(linger);
    linger = setTimeout(() => {
      if (keeper.isIdle) process.exit(0);
    }, LINGER_MS);
  };
  const keeper = new Keeper(paths, { onIdle: lingerThenLeave, log });
  await ControlServer.listen({
    socketPath: paths.keeperSocket,
    peer: 'a command',
    allowedUids: [process.getuid?.() ?? 0],
    onMessage: (connection, message) => answer(keeper, connection, message),
  });
  await keeper.rescue();
  if (keeper.isIdle) lingerThenLeave();
}

async function takeLock(path: string): Promise<AsyncDisposable | undefined> {
  try {
    return await acquireLock(path, { timeoutMs: 0 });
  } catch (error) {
    if (isHvError(error, 'in-use')) return undefined;
    throw error;
  }
}

async function answer(
  keeper: Keeper,
  connection: Connection,
  message: Readonly<Record<string, unknown>>,
): Promise<void> {
  const parsed = keeperRequestSchema.safeParse(message);
  if (!parsed.success) {
    const id = typeof message.id === 'number' ? message.id : 0;
    await connection.send({ id, error: new HvError('protocol', 'the keeper does not understand this order').toJSON() });
    return;
  }
  const request = parsed.data;
  try {
    if (request.op === 'ensure-worker') await ensureWorker(keeper, request.vmId);
    else if (request.op === 'release-worker') await keeper.releaseWorker(request.vmId);
    else await keeper.rescue();
    await connection.send({ id: request.id, result: {} });
  } catch (error) {
    const failure = isHvError(error) ? error : new HvError('internal', 'the keeper failed', { cause: error });
    if (!isHvError(error)) log(String(error));
    await connection.send({ id: request.id, error: failure.toJSON() });
  }
}

async function ensureWorker(keeper: Keeper, vmId: string): Promise<void> {
  try {
    await keeper.ensureWorker(vmId);
  } catch (error) {
    if (!isHvError(error, 'process-failed') || error.detail.endedInOrder !== true) throw error;
    await keeper.ensureWorker(vmId);
  }
}

const [, , home, run] = process.argv;
if (home === undefined || run === undefined) {
  process.stderr.write('usage: main.js <home> <run>\n');
  process.exit(2);
}
main(home, run).catch((error: unknown) => {
  log(describe(error));
  process.exit(1);
});
