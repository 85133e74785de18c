// Loaded before the command: the process is killed, as by kill -9, when it has made so many changes and flushes of files.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

let left = Number(process.env.HV_TEST_STEPS_TO_LIVE);
for (const name of ['writeSync', 'ftruncateSync', 'fdatasyncSync', 'fsyncSync', 'fdatasync', 'linkSync', 'unlinkSync', 'renameSync']) {
  const real = fs[name];
  fs[name] = (...args) => {
    // The command's own words are no change of a file.
    if (args[0] === 1 || args[0] === 2) return real(...args);
    if (left-- <= 0) process.kill(process.pid, 'SIGKILL');
    return real(...args);
  };
}
syncBuiltinESMExports();
