/** Serves a disk as `hv vhd serve` does: node bench/serve-disk.mjs FILE SOCKET */
import { serveDisk } from '../dist/protocols/nbd/index.js';

// As commands and workers have it: what is not in memory is read by as many threads as a deep queue asks for.
process.env.UV_THREADPOOL_SIZE ??= '16';
const [path, socketPath] = process.argv.slice(2);
const ending = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => ending.abort());
await serveDisk({ path, socketPath, signal: ending.signal, onListening: ({ uri }) => console.log(uri) });
