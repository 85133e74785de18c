import { defineMergeDeaths } from './merge-death-suite.ts';

defineMergeDeaths('vhdx', 1);
defineMergeDeaths('vhd', 1);
