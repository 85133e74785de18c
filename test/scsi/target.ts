import type { ScsiResult, ScsiTargetOptions } from '../../src/protocols/scsi/index.ts';
import { ScsiTarget } from '../../src/protocols/scsi/index.ts';
import { MemoryDevice } from '../nbd/memory-device.ts';

export const ID = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
export const SIZE_BYTES = 64 * 1024 * 1024;
export const BLOCKS = SIZE_BYTES / 512;

export interface Initiator {
  readonly device: MemoryDevice;
  /** Sends a CDB in hexadecimal. */
  send(cdb: string, dataOut?: Uint8Array): Promise<ScsiResult>;
}

export function initiator(
  options: { sizeBytes?: number; readOnly?: boolean; isThin?: boolean } & Partial<ScsiTargetOptions> = {},
): Initiator {
  const { sizeBytes = SIZE_BYTES, readOnly = false, isThin = true, ...rest } = options;
  const device = new MemoryDevice(sizeBytes, { readOnly });
  const target = new ScsiTarget(device, { identity: { id: ID, isThin }, ...rest });
  return {
    device,
    send: (cdb, dataOut) => target.execute(Buffer.from(cdb.replaceAll(' ', ''), 'hex'), dataOut),
  };
}

/** Key, code and qualifier in the way of the standards: `5/24/00`; undefined for GOOD. */
export function senseOf({ sense }: ScsiResult): string | undefined {
  if (!sense) return undefined;
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  return `${sense.key.toString(16)}/${hex(sense.asc)}/${hex(sense.ascq)}`;
}

/** A device that says it is larger than any memory: for what only looks at sizes. */
export function hugeInitiator(sizeBytes: number): Initiator {
  const made = initiator();
  const target = new ScsiTarget(
    Object.assign(Object.create(made.device), {
      sizeBytes,
      read: () => {},
      extents: function* (offset: number, length: number) {
        yield { offset, length, kind: 'hole', depth: 0 };
      },
    }),
    { identity: { id: ID, isThin: true } },
  );
  return {
    device: made.device,
    send: (cdb, dataOut) => target.execute(Buffer.from(cdb.replaceAll(' ', ''), 'hex'), dataOut),
  };
}

/** CDBs that name a range, by their length. */
export function rangeCdb(opcode: number, lba: number | bigint, count: number, flags = 0): string {
  const hex = (value: number | bigint, bytes: number): string => value.toString(16).padStart(bytes * 2, '0');
  const code = hex(opcode, 1);
  if (opcode < 0x20) return `${code}${hex(lba, 3)}${hex(count, 1)}00`;
  if (opcode < 0x60) return `${code}${hex(flags, 1)}${hex(lba, 4)}00${hex(count, 2)}00`;
  if (opcode >= 0xa0) return `${code}${hex(flags, 1)}${hex(lba, 4)}${hex(count, 4)}0000`;
  return `${code}${hex(flags, 1)}${hex(lba, 8)}${hex(count, 4)}0000`;
}
