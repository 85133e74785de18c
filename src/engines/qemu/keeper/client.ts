import { spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { withDeadline } from '../../../async/index.ts';
import { HvError, isHvError } from '../../../errors/index.ts';
import { ensureFolders, type HvPaths } from '../../../state/index.ts';
import { entryPoint, minimalEnvironment } from '../../../system/index.ts';
import { ControlClient } from '../control/client.ts';
import type { Order } from '../control/wire.ts';

const KEEPER_START_MS = 15_000;
/** More than the keeper itself gives a worker to start. */
const ANSWER_MS = 75_000;
const MAX_ATTEMPTS = 3;

/** Connects to the keeper of this home where there is one. */
export async function findKeeper(paths: HvPaths): Promise<ControlClient | undefined> {
  try {
    return await ControlClient.connect(paths.keeperSocket, 'the keeper');
  } catch (error) {
    if (isHvError(error, 'not-found') || isHvError(error, 'io')) return undefined;
    throw error;
  }
}

/**
 * Gives the keeper an order. One that was just leaving when the order came is not the last word: the next one gets it.
 * @throws HvError what the keeper says; `io`, `permission-denied`
 */
export async function askKeeper(paths: HvPaths, order: Order): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    await using keeper = await connectKeeper(paths);
    try {
      await callKeeper(keeper, order);
      return;
    } catch (error) {
      if (!keeper.isEnded || attempt === MAX_ATTEMPTS) throw error;
    }
  }
}

/** Waits for the keeper as long as a worker may take to start, not for ever: it may have been stopped by a signal. */
export async function callKeeper(keeper: ControlClient, order: Order): Promise<void> {
  try {
    await withDeadline(keeper.call(order), ANSWER_MS, 'an answer of the keeper');
  } catch (error) {
    if (!isHvError(error, 'timeout')) throw error;
    throw new HvError('timeout', error.message, {
      detail: error.detail,
      hint: 'Look for the process hv-keeper: it may be stopped. Ending it harms no machine.',
      cause: error,
    });
  }
}

/** Connects to the keeper of this home, and starts it where there is none. @throws HvError `io`, `permission-denied` */
export async function connectKeeper(paths: HvPaths): Promise<ControlClient> {
  const keeper = await findKeeper(paths);
  if (keeper) return keeper;
  await ensureFolders(paths);
  const log = openSync(paths.keeperLog, 'a', 0o600);
  try {
    const child = spawn(process.execPath, [entryPoint(import.meta.url, './main.js').pathname, paths.home, paths.run], {
      detached: true,
      cwd: '/',
      stdio: ['ignore', log, log],
      env: minimalEnvironment({ HV_NO_FFI: process.env.HV_NO_FFI }),
    });
    child.unref();
  } finally {
    closeSync(log);
  }
  return ControlClient.connect(paths.keeperSocket, 'the keeper', { waitForSocketMs: KEEPER_START_MS });
}
