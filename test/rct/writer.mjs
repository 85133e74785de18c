// Writes sectors of a tracked disk until it is killed, and says before each write where; now and then makes an id.
import { writeSync } from 'node:fs';
import { openChain } from '../../dist/disk/index.js';

const [path, seedText] = process.argv.slice(2);
const disk = openChain(path);
const sectors = disk.sizeBytes / 512;
const bytes = new Uint8Array(512);
let state = Number(seedText) >>> 0;
const next = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
for (let count = 1; ; count++) {
  const sector = Math.floor(next() * sectors);
  bytes.fill(count);
  disk.write(sector * 512, bytes, 0, 512);
  writeSync(1, `wrote ${sector}\n`);
  if (count % 50 === 0) writeSync(1, `id ${disk.takeReferencePoint()}\n`);
  if (count % 37 === 0) await disk.flush();
}
