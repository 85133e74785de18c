// Writes sectors of a disk until it is killed, and says after each write that it was acknowledged.
import { writeSync } from 'node:fs';
import { openChain } from '../../dist/disk/index.js';

const [path, seedText] = process.argv.slice(2);
const disk = openChain(path);
const sectors = disk.sizeBytes / 512;
const words = new Uint32Array(128);
const bytes = new Uint8Array(words.buffer);
let state = Number(seedText) >>> 0;
const next = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
let flushing;
for (let count = 1; ; count++) {
  const sector = Math.floor(next() * sectors);
  words.fill(count);
  disk.write(sector * 512, bytes, 0, 512);
  writeSync(1, `${sector} ${count}\n`);
  if (count % 37 === 0) {
    flushing = disk.flush().catch(() => process.exit(1));
    if (count % 74 === 0) await flushing;
  }
}
