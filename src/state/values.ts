import { z } from 'zod';

/** What several files under HV_HOME hold. */
export const guid = z.string().regex(/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
export const absolutePath = z.string().startsWith('/');
