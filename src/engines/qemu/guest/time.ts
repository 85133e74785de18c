import { isHvError } from '../../../errors/index.ts';
import type { GuestAgent } from '../../../protocols/qga/index.ts';

/** A clock that is off by less is left alone: the asking itself takes a part of that. */
const TOLERANCE_MS = 1000;

/**
 * Sets the guest's clock to the host's, and says by how much it was wrong (positive: it was ahead). The agent of a Linux
 * guest sets the clock first and fails afterwards where it cannot write the hardware's: what counts is the clock.
 */
export async function setGuestTime(agent: GuestAgent, always: boolean): Promise<number> {
  const offsetMs = (await agent.time()) - Date.now();
  if (!always && Math.abs(offsetMs) < TOLERANCE_MS) return offsetMs;
  try {
    await agent.setTime(Date.now());
  } catch (error) {
    if (!isHvError(error, 'guest-failed')) throw error;
    if (Math.abs((await agent.time()) - Date.now()) > TOLERANCE_MS) throw error;
  }
  return offsetMs;
}
