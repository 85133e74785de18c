import { describe, test } from 'vitest';
import { compactOne } from './compact-suite.ts';
import { KINDS } from './file-systems.ts';

describe('compact gives back what a clean file system holds free, every kind of it', () => {
  test.each(KINDS)('$title', (kind) => compactOne(kind));
});
