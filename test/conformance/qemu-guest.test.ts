import { describeMoves } from './guest/moves.ts';
import { describeLiveSnapshots } from './guest/snapshots.ts';
import { qemuFixture } from './qemu-home.ts';

describeMoves('qemu', qemuFixture);
describeLiveSnapshots('qemu', qemuFixture);
