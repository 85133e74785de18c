import { describeDrives } from './guest/storage.ts';
import { qemuFixture } from './qemu-home.ts';

describeDrives('qemu', qemuFixture, 2);
