import type { VmSpecification } from '../../../../model/index.ts';
import { closeTray, insertMedium, openTray, queryBlockDevices, removeMedium } from '../../../../protocols/qmp/index.ts';
import { dvdNames, mediumNodes } from '../../drive-devices.ts';
import { addNodes, dropNodes } from './drives.ts';
import type { LiveMachine } from './live-machine.ts';

const IS_MEDIUM_NODE = /^[vw][0-9a-f]{24}$/;

/** Changes the media of DVD drives. A guest that holds the tray shut is overruled, as by the pin in a real drive. */
export async function reconcileMedia(machine: LiveMachine, specification: VmSpecification): Promise<void> {
  const { monitor, runFolder } = machine;
  const devices = await queryBlockDevices(monitor);
  const needed = new Set<string>();
  for (const dvd of specification.dvdDrives) {
    const { device, medium } = dvdNames(dvd);
    if (medium) for (const name of [medium.node, medium.nbd]) needed.add(name);
    const present = devices.find(({ deviceId }) => deviceId === device);
    if (present?.nodeName === medium?.node) continue;
    await openTray(monitor, device);
    if (present?.nodeName !== undefined) await removeMedium(monitor, device);
    if (medium) {
      await addNodes(machine, mediumNodes(dvd, runFolder));
      await insertMedium(monitor, device, medium.node);
    }
    await closeTray(monitor, device);
  }
  await dropNodes(machine, IS_MEDIUM_NODE, needed);
}
