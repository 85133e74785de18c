import { existsSync } from 'node:fs';
import type { VhdInfo } from '../../../disk/index.ts';
import type { Output } from '../../output/output.ts';
import { showBytes } from '../../output/units.ts';

function parentNote(path: string, isFound: boolean): string {
  if (isFound) return '';
  return existsSync(path) ? " (outside of the disk's own folder: name it with --allow-parent)" : ' (not there)';
}

function trackingNote({ newerChanges, mostRecentId }: VhdInfo['changeTracking']): string {
  if (mostRecentId === null) return 'yes, anew';
  return `since ${mostRecentId}${newerChanges ? ', with changes' : ''}`;
}

/** A disk's head for people. */
export function showVhd(path: string, info: VhdInfo, output: Output): Promise<string> {
  return output.facts([
    ['File', path, 'bold'],
    ['Format', info.format === info.type ? info.format : `${info.format}, ${info.type}`],
    ['Size', `${showBytes(info.virtualSizeBytes)} (${info.virtualSizeBytes} bytes)`],
    ['Size of the file', showBytes(info.fileSizeBytes)],
    ['Block size', info.blockSizeBytes ? showBytes(info.blockSizeBytes) : null],
    ['Logical sector', showBytes(info.logicalSectorSizeBytes)],
    ['Fragmentation', info.fragmentationPercent === null ? null : `${info.fragmentationPercent} %`],
    ['Smallest safe size', info.smallestSafeSizeBytes === null ? null : showBytes(info.smallestSafeSizeBytes)],
    ['Tracks changes', info.changeTracking.enabled ? trackingNote(info.changeTracking) : null],
    ['In use', info.inUse ? 'yes, by another process' : null],
    ['Unfinished', info.unfinishedMergeInto && `its merge into ${info.unfinishedMergeInto}: merge it again to go on`],
    ['Identifier', info.identifier],
    ['Parent', info.parentPath === null ? null : info.parentPath + parentNote(info.parentPath, info.parentFound)],
  ]);
}
