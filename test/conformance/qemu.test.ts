import { describeDisks } from './contract/disks.ts';
import { describeEvents } from './contract/events.ts';
import { describeGuests } from './contract/guests.ts';
import { describeHost } from './contract/host.ts';
import { describeMachines } from './contract/machines.ts';
import { describeSettings } from './contract/settings.ts';
import { describeSnapshots } from './contract/snapshots.ts';
import { describeStorage } from './contract/storage.ts';
import { qemuFixture } from './qemu-home.ts';

describeHost('qemu', qemuFixture);
describeDisks('qemu', qemuFixture);
describeMachines('qemu', qemuFixture);
describeSnapshots('qemu', qemuFixture);
describeStorage('qemu', qemuFixture);
describeEvents('qemu', qemuFixture);
describeSettings('qemu', qemuFixture);
describeGuests('qemu', qemuFixture);
