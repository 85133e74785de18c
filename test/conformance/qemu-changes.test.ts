import { describeChangedBlocks } from './guest/changes.ts';
import { qemuFixture } from './qemu-home.ts';

describeChangedBlocks('qemu', qemuFixture);
