import { defineMergeDeaths } from './merge-death-suite.ts';

defineMergeDeaths('vhdx', 7);
defineMergeDeaths('vhd', 5);
