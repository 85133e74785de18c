import { defineKills } from './kill-suite.ts';

// A few moments of each, closer together in the beginning.
defineKills((kills) => 1 + 3 * kills);
