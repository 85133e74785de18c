import { defineSetCrashes } from './set-crash-suite.ts';

defineSetCrashes(1);
