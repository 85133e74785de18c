import { describeMoves } from './guest/moves.ts';
import { qemuFixture } from './qemu-home.ts';

describeMoves('qemu', qemuFixture);
