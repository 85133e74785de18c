import { describeGuestServices } from './guest/services.ts';
import { qemuFixture } from './qemu-home.ts';

describeGuestServices('qemu', qemuFixture);
