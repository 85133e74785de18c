import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { entryPoint } from './entry-point.ts';

it('maps a file of src to the same file of dist, or says that it has not been built', () => {
  const built = new URL('../../dist/system/entry-point.js', import.meta.url);
  if (existsSync(built)) expect(entryPoint(import.meta.url, './entry-point.js').href).toBe(built.href);
  expect(() => entryPoint(import.meta.url, './never-written.js')).toThrowError(
    expect.objectContaining({
      code: 'internal',
      hint: expect.stringContaining('npm run build'),
      detail: { path: fileURLToPath(new URL('../../dist/system/never-written.js', import.meta.url)) },
    }),
  );
});

it('leaves what runs from dist alone', () => {
  const caller = new URL('../../dist/engines/qemu/keeper.js', import.meta.url);
  expect(entryPoint(caller.href, './worker-main.js').pathname).toMatch(/\/dist\/engines\/qemu\/worker-main\.js$/);
});
