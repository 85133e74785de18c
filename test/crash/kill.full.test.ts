import { defineKills } from './kill-suite.ts';

defineKills(() => 3);
