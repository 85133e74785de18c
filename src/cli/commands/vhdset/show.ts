import type { VhdSetInfo } from '../../../disk/index.ts';
import { argument } from '../../definition.ts';
import type { Output } from '../../output/output.ts';
import { showTime } from '../../output/units.ts';
import { parsePath } from '../../values/path.ts';

export const SET_ARGUMENT = argument('The VHD Set, a .vhds file', parsePath);
export const SNAPSHOT_ARGUMENT = argument('The id of a snapshot, as info lists it');

/** A set for people. */
export function showVhdSet(info: VhdSetInfo, output: Output): Promise<string> {
  const snapshots = info.snapshots.map(({ id, creationTime, path, isWriteable }) => {
    const notes = [
      ...(id === info.currentSnapshotId ? ['current'] : []),
      ...(path === null ? ['reference point'] : []),
      ...(isWriteable ? ['writeable'] : []),
    ];
    return `${id}  ${showTime(creationTime)}${notes.length > 0 ? `  ${notes.join(', ')}` : ''}`;
  });
  return output.facts([
    ['Set', info.path, 'bold'],
    ['Disk', info.leafPath],
    ['Identifier', info.virtualDiskId],
    ['Snapshots', snapshots.join('\n') || 'none'],
    ['Files', info.allPaths.join('\n')],
    [
      'Unneeded',
      info.unneededPaths.length === 0 ? null : `${info.unneededPaths.join('\n')}\n(hv vhdset optimize merges)`,
    ],
    ['New files', info.defaultPath],
  ]);
}
