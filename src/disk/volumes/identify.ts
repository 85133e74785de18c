import { identifyExt } from '../../formats/ext4/index.ts';
import { identifyFat } from '../../formats/fat/index.ts';
import type { FileSystemKind, VolumeBytes } from '../../formats/file-system.ts';
import { identifyNtfs } from '../../formats/ntfs/index.ts';

/** What lies in a volume, as far as a look at its first sectors tells. */
export interface Identified {
  readonly kind: FileSystemKind | ForeignKind;
  /** How far it reaches; null: hv cannot tell. */
  readonly sizeBytes: number | null;
}

/** What hv knows by its signature alone. */
export type ForeignKind = 'bitlocker' | 'btrfs' | 'luks' | 'lvm' | 'refs' | 'suspended' | 'swap' | 'xfs';

const FOREIGN: readonly (readonly [kind: ForeignKind, offset: number, signature: string])[] = [
  ['bitlocker', 3, '-FVE-FS-'],
  ['refs', 3, 'ReFS\0\0\0\0'],
  ['xfs', 0, 'XFSB'],
  ['luks', 0, 'LUKS\xba\xbe'],
  ['lvm', 512, 'LABELONE'],
  ['lvm', 0, 'LABELONE'],
  ['swap', 4086, 'SWAPSPACE2'],
  // A swap space that holds a hibernated system's memory.
  ['suspended', 4086, 'S1SUSPEND'],
  ['suspended', 4086, 'S2SUSPEND'],
  ['suspended', 4086, 'ULSUSPEND'],
  ['suspended', 4086, 'LINHIB0001'],
  ['btrfs', 65_600, '_BHRfS_M'],
];

/** Says what a volume holds, or undefined where it holds nothing that hv knows. @throws what reading it throws */
export function identifyVolume(volume: VolumeBytes): Identified | undefined {
  const known = identifyNtfs(volume) ?? identifyExt(volume) ?? identifyFat(volume);
  if (known) return known;
  const foreign = FOREIGN.find(
    ([, offset, signature]) => Buffer.from(volume.read(offset, signature.length)).toString('latin1') === signature,
  );
  return foreign && { kind: foreign[0], sizeBytes: null };
}
