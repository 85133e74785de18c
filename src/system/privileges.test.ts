import { spawnSync } from 'node:child_process';
import { expect, it, type TestContext } from 'vitest';
import { nativeLibc } from '../native/index.ts';
import { entryPoint } from './entry-point.ts';
import { dropPrivileges } from './privileges.ts';

/** Runs in a process of its own: there is no way back. */
function inChild(script: string): { status: number | null; stdout: string; stderr: string } {
  const room = JSON.stringify(entryPoint(import.meta.url, './privileges.js').href);
  return spawnSync(
    process.execPath,
    ['--input-type=module', '-e', `import { dropPrivileges, isRoot } from ${room};\n${script}`],
    { encoding: 'utf8', timeout: 20_000 },
  );
}

function needsRoot(context: TestContext): void {
  if (process.getuid?.() !== 0) context.skip('only root has privileges to drop');
}

it('becomes another user for good, in every thread', (context) => {
  needsRoot(context);
  const { stdout, stderr } = inChild(`
    import { readFileSync, readdirSync } from 'node:fs';
    import { readFile } from 'node:fs/promises';
    import { Worker } from 'node:worker_threads';
    await readFile('/proc/self/stat'); // starts the thread pool
    const worker = new Worker('setInterval(() => {}, 1000)', { eval: true });
    await new Promise((resolve) => worker.once('online', resolve));
    dropPrivileges({ uid: 65534, gid: 65534, groups: [65533] });
    const threads = readdirSync('/proc/self/task');
    const identities = new Set(threads.map((thread) => {
      const text = readFileSync('/proc/self/task/' + thread + '/status', 'latin1');
      return /^Uid:.*$/m.exec(text)[0] + /^Gid:.*$/m.exec(text)[0] + /^Groups:.*$/m.exec(text)[0];
    }));
    let refused = 0;
    for (const attempt of [() => process.setuid(0), () => process.seteuid(0), () => process.setgid(0),
      () => process.setgroups([0]), () => readFileSync('/etc/shadow')]) {
      try { attempt(); } catch { refused++; }
    }
    console.log(JSON.stringify({ threads: threads.length, identities: [...identities], refused, root: isRoot() }));
    process.exit(0);`);
  expect(stderr).toBe('');
  const seen = JSON.parse(stdout);
  expect(seen.threads).toBeGreaterThan(5);
  expect(seen.identities).toEqual(['Uid:\t65534\t65534\t65534\t65534Gid:\t65534\t65534\t65534\t65534Groups:\t65533 ']);
  expect(seen).toMatchObject({ refused: 5, root: false });
});

it('has loaded the FFI before, where the other user cannot read it', (context) => {
  needsRoot(context);
  if (!nativeLibc()) context.skip('no FFI here, or it is turned off');
  const { stdout, stderr } = inChild(`
    import { createRequire } from 'node:module';
    const { nextData } = await import(${JSON.stringify(entryPoint(import.meta.url, './sparse-file.js').href)});
    dropPrivileges({ uid: 65534, gid: 65534 });
    // From here on nothing can be loaded, as if its folders were closed to this user.
    createRequire(import.meta.url)('node:module')._load = () => { throw new Error('unreadable'); };
    try { nextData(-1, 0); } catch (error) { console.log(error.detail.errno); }`);
  expect(stderr).toBe('');
  expect(stdout).toBe('EBADF\n');
});

it('is content to be that user already, and cannot become another', (context) => {
  needsRoot(context);
  const { stdout } = inChild(`
    dropPrivileges({ uid: 65534, gid: 65534 });
    dropPrivileges({ uid: 65534, gid: 65534 });
    try { dropPrivileges({ uid: 65533, gid: 65534 }); } catch (error) { console.log(error.code); }`);
  expect(stdout).toBe('permission-denied\n');
});

it('notices when the proof fails', (context) => {
  needsRoot(context);
  // A set-group-id that quietly does nothing stands for a kernel or sandbox that ignores the call.
  const { stdout } = inChild(`
    process.setgid = () => {};
    try { dropPrivileges({ uid: 65534, gid: 65534 }); } catch (error) { console.log(error.code); }`);
  expect(stdout).toBe('internal\n');
});

it('refuses root and nonsense as the target', () => {
  for (const uid of [0, -1, 1.5, 2 ** 32 - 1, Number.NaN]) {
    expect(() => dropPrivileges({ uid, gid: 65534 })).toThrowError(
      expect.objectContaining({ code: 'invalid-argument' }),
    );
  }
  expect(() => dropPrivileges({ uid: 65534, gid: 65534, groups: [0] })).toThrowError(
    expect.objectContaining({ code: 'invalid-argument' }),
  );
});
