import type { VhdInfo } from '../../../disk/index.ts';
import type { Output } from '../../output/output.ts';
import { showBytes } from '../../output/units.ts';

/** A disk's head for people. */
export function showVhd(path: string, info: VhdInfo, output: Output): Promise<string> {
  return output.facts([
    ['File', path, 'bold'],
    ['Format', `${info.format}, ${info.type}`],
    ['Size', `${showBytes(info.virtualSizeBytes)} (${info.virtualSizeBytes} bytes)`],
    ['Size of the file', showBytes(info.fileSizeBytes)],
    ['Block size', info.blockSizeBytes ? showBytes(info.blockSizeBytes) : null],
    ['Logical sector', showBytes(info.logicalSectorSizeBytes)],
    ['Identifier', info.identifier],
    ['Parent', info.parentPath],
  ]);
}
