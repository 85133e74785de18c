import { openQemuHost } from '../../src/engines/qemu/index.ts';
import { describeHost } from './contract/host.ts';
import { describeMachines } from './contract/machines.ts';
import { describeSnapshots } from './contract/snapshots.ts';
import { homeFixture } from './fixture.ts';

const make = homeFixture((home) => openQemuHost({ home }));
describeHost('qemu', make);
describeMachines('qemu', make);
describeSnapshots('qemu', make);
