import { spawn } from 'node:child_process';
import { copyFileSync, readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createVhd } from '../../src/disk/index.ts';
import { describeBuilt, hv, MAIN } from '../cli/built.ts';
import { TemporaryFolder } from '../vhdx/tools.ts';
import { diskAt, fill, MIB } from './looks.ts';

const PRELOAD = fileURLToPath(new URL('./die-after.mjs', import.meta.url));

/** @returns whether it was killed */
function runAndDie(words: readonly string[], stepsToLive: number): Promise<boolean> {
  const child = spawn(process.execPath, ['--import', PRELOAD, MAIN, ...words], {
    env: { ...process.env, HV_TEST_STEPS_TO_LIVE: String(stepsToLive) },
    stdio: 'ignore',
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (signal === 'SIGKILL') resolve(true);
      else if (code === 0) resolve(false);
      else reject(new Error(`hv ${words.join(' ')} ended with ${code}`));
    });
  });
}

async function makeDisk(path: string): Promise<void> {
  const sizes = path.endsWith('.vhdx') ? { blockSizeBytes: MIB } : {};
  await createVhd(path, { sizeBytes: 12 * MIB, ...sizes });
  await fill(path, [0, 9 * MIB, 3], [2 * MIB, 4 * MIB, 0], [7 * MIB + 512, 900, 4], [10 * MIB, 5000, 5]);
}

/**
 * Kills a real command before each of its changes of files, `step` apart, and looks with another process's eyes: the old
 * or the new disk is there, alone in its folder, and the same command ends the work.
 */
export function defineKills(step: (kills: number) => number): void {
  describeBuilt('a command that is killed', () => {
    for (const format of ['vhdx', 'vhd']) {
      for (const [title, words] of [
        ['resize to a larger size', ['resize', '--size', `${40 * MIB}`]],
        ['resize to a smaller size', ['resize', '--size', `${8 * MIB}`, '--unsafe']],
        ['compact', ['compact']],
      ] as const) {
        test(`vhd ${title}, ${format}, leaves the old or the new disk`, async () => {
          using base = new TemporaryFolder();
          using folder = new TemporaryFolder();
          const [model, disk] = [base.file(`disk.${format}`), folder.file(`disk.${format}`)];
          await makeDisk(model);
          const [verb, ...rest] = words;
          const command = ['vhd', verb, disk, ...rest];
          const before = await diskAt(model);
          copyFileSync(model, disk);
          expect(await runAndDie(command, Number.MAX_SAFE_INTEGER)).toBe(false);
          const after = await diskAt(disk);
          const sizeBytes = statSync(disk).size;
          let kills = 0;
          for (let steps = 0, isKilled = true; isKilled; steps += step(kills)) {
            copyFileSync(model, disk);
            isKilled = await runAndDie(command, steps);
            if (isKilled) kills++;
            expect([before, after], `killed after ${steps}`).toContain(await diskAt(disk));
            const again = await hv(command);
            expect(again.status, `${again.stderr} after ${steps}`).toBe(0);
            expect(await diskAt(disk), `killed after ${steps}, done again`).toBe(after);
            if (verb === 'compact') expect(statSync(disk).size).toBeLessThanOrEqual(sizeBytes);
            expect(readdirSync(folder.path)).toEqual([`disk.${format}`]);
          }
          expect(kills).toBeGreaterThan(1);
        });
      }
    }
  });
}
