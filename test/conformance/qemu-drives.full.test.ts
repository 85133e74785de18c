import { describeDrives, describeDvdBoot } from './guest/storage.ts';
import { qemuFixture } from './qemu-home.ts';

describeDrives('qemu', qemuFixture, 1, { isLong: true });
describeDvdBoot('qemu', qemuFixture);
