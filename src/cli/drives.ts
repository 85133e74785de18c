import { argument, option, optionList } from './definition.ts';
import { showAddress } from './doors.ts';
import type { DriveAddress, DvdDrive, HardDiskDrive, StorageQos } from './nouns.ts';
import { showBytes } from './output/units.ts';
import { countOf } from './values/choice.ts';
import { parseDriveAddress, parseDrivePlace } from './values/drive-address.ts';
import { parsePath } from './values/path.ts';
import { parseSize } from './values/size.ts';

/** What the commands for hard disk drives and DVD drives have in common. */

export const DRIVE_ARGUMENT = argument('Its place, as the list shows it: scsi:0:1', parseDriveAddress);

export const PLACE = option(
  '--controller <place>',
  'Where: scsi:0:1, or scsi alone for the first free place (default: the first free one of the machine)',
  parseDrivePlace,
);

export const DVD_PLACE = option(
  '--controller <place>',
  'Which drive, as the list shows it: scsi:0:1 (default: the first)',
  parseDriveAddress,
);

/** Bounds of a drive. */
export const QOS_OPTIONS = {
  maximumIops: option(
    '--maximum-iops <count>',
    'So many operations of 8 KiB a second at most; none for no bound',
    orNone(countOf('operations')),
  ),
  minimumIops: option(
    '--minimum-iops <count>',
    'So many are wanted; written down, not enforced; or none',
    orNone(countOf('operations')),
  ),
  maximumBandwidth: option(
    '--maximum-bandwidth <size>',
    'So many bytes a second at most; none for no bound',
    orNone(parseSize),
  ),
} as const;

export const PARENTS = optionList(
  '--allow-parent <path>',
  "File or folder outside the disk's own folder where its parents may lie (repeatable)",
  parsePath,
);

function orNone<T>(parse: (text: string) => T): (text: string) => T | null {
  return (text) => (text.trim().toLowerCase() === 'none' ? null : parse(text));
}

/** The bounds that were typed. */
export function qosOf(options: {
  readonly maximumIops: number | null | undefined;
  readonly minimumIops: number | null | undefined;
  readonly maximumBandwidth: number | null | undefined;
}): Partial<StorageQos> {
  const { maximumIops, minimumIops, maximumBandwidth } = options;
  return {
    ...(maximumIops === undefined ? {} : { maximumIops }),
    ...(minimumIops === undefined ? {} : { minimumIops }),
    ...(maximumBandwidth === undefined ? {} : { maximumBytesPerSecond: maximumBandwidth }),
  };
}

/** As it is typed: `scsi:0:1` */
export function placeText({ controllerType, controllerNumber, controllerLocation }: DriveAddress): string {
  return `${controllerType.toLowerCase()}:${controllerNumber}:${controllerLocation}`;
}

export function diskSentence(drive: HardDiskDrive): string {
  const size = drive.sizeBytes === null ? '' : `, ${showBytes(drive.sizeBytes)}`;
  return `${drive.path} (${showAddress(drive)}${size})`;
}

export function dvdSentence(dvd: DvdDrive): string {
  return `${showAddress(dvd)}: ${dvd.path ?? 'empty'}`;
}

export function showQos({ maximumIops, minimumIops, maximumBytesPerSecond }: StorageQos): string {
  const bounds = [
    maximumIops === null ? null : `at most ${maximumIops} IOPS`,
    minimumIops === null ? null : `at least ${minimumIops} IOPS`,
    maximumBytesPerSecond === null ? null : `at most ${showBytes(maximumBytesPerSecond)}/s`,
  ];
  return bounds.filter((bound) => bound !== null).join(', ') || '-';
}
