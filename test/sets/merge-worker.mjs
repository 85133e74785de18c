// Merges a disk and dies, at once, when the n-th report of its progress comes.
import { mergeVhd } from '../../dist/disk/index.js';

const [file, depth, reports] = process.argv.slice(2);
let left = Number(reports);
await mergeVhd(file, {
  depth: Number(depth),
  onProgress: () => {
    if (--left === 0) process.kill(process.pid, 'SIGKILL');
  },
});
