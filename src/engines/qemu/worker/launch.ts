import { invariant } from '../../../errors/index.ts';
import type { VmDefinition } from '../../../state/index.ts';
import { requireProgram } from '../../../system/index.ts';
import { chooseAcceleration } from '../acceleration.ts';
import { qemuArguments } from '../qemu-arguments.ts';
import { QEMU_SYSTEM, requireFirmware } from '../qemu-programs.ts';

export const SERIAL_LOG = 'serial.log';
export const EVENTS_FILE = 'events.ndjson';

export interface Launch {
  readonly program: string;
  readonly args: readonly string[];
  readonly acceleration: 'kvm' | 'tcg';
}

/** Looks everything up that a start needs, while this process may still look: afterwards only the arguments differ. */
export async function prepareLaunch(
  definition: VmDefinition,
  runFolder: string,
): Promise<(incoming: boolean) => Launch> {
  const program = await requireProgram(QEMU_SYSTEM);
  const { machineType, specification } = definition;
  invariant(machineType !== null, 'the machine type is pinned before the first start');
  const { nvramFile } = definition;
  const firmware = nvramFile === null ? null : { code: (await requireFirmware()).code, variables: nvramFile };
  const acceleration = chooseAcceleration();
  return (incoming) => ({
    program,
    acceleration,
    args: qemuArguments({
      vmId: definition.id,
      specification,
      machineType,
      acceleration,
      runFolder,
      serialLog: SERIAL_LOG,
      firmware,
      incoming,
    }),
  });
}
