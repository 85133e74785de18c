import { HvError } from '../../errors/index.ts';
import type { DriveAddress } from '../nouns.ts';

/**
 * Where a drive is, or shall be: `scsi`, `scsi:0` or `scsi:0:1`, and the same with `ide`.
 * @throws HvError `invalid-argument`
 */
export function parseDrivePlace(text: string): Partial<DriveAddress> {
  const match = /^(?<type>ide|scsi)(?::(?<number>\d{1,3}))?(?::(?<location>\d{1,3}))?$/i.exec(text.trim());
  const { type, number, location } = match?.groups ?? {};
  if (type === undefined) {
    throw new HvError('invalid-argument', `${JSON.stringify(text.slice(0, 60))} is no place of a drive`, {
      detail: { what: 'controller', value: text.slice(0, 60) },
      hint: 'Write the controller, its number and the location on it: scsi:0:1, or ide:1:0.',
    });
  }
  return {
    controllerType: type.toUpperCase() === 'IDE' ? 'IDE' : 'SCSI',
    ...(number === undefined ? {} : { controllerNumber: Number(number) }),
    ...(location === undefined ? {} : { controllerLocation: Number(location) }),
  };
}

/** The whole address of a drive that is there. @throws HvError `invalid-argument` */
export function parseDriveAddress(text: string): DriveAddress {
  const { controllerType, controllerNumber, controllerLocation } = parseDrivePlace(text);
  if (controllerType !== undefined && controllerNumber !== undefined && controllerLocation !== undefined)
    return { controllerType, controllerNumber, controllerLocation };
  throw new HvError('invalid-argument', `${JSON.stringify(text.slice(0, 60))} names no single drive`, {
    detail: { what: 'controller', value: text.slice(0, 60) },
    hint: 'Write the controller, its number and the location on it, as the list shows: scsi:0:1.',
  });
}
