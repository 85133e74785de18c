import { defineCommand } from '../../definition.ts';
import type { SnapshotInfo } from '../../nouns.ts';
import { terminalLine } from '../../output/terminal-text.ts';
import { showTime } from '../../output/units.ts';
import { VM_ARGUMENT } from '../../vm-move.ts';

export const command = defineCommand({
  name: 'snapshot list',
  summary: "Show a machine's snapshots",
  description:
    'As a tree on a terminal, with the one marked that the present state descends from; elsewhere one line each.',
  arguments: { vm: VM_ARGUMENT },
  examples: ['snapshot list web1', 'snapshot list web1 --json'],
  changes: false,
  async run({ args, open, output }) {
    const snapshots = (await (await open()).listSnapshots(args.vm)).map(({ info }) => info);
    if (!output.json && output.isTerminal) {
      if (snapshots.length === 0) output.text('No snapshots.');
      for (const { prefix, snapshot } of snapshotTree(snapshots)) {
        const name = await output.styled(terminalLine(snapshot.name), snapshot.isCurrent ? 'green' : 'bold');
        const about = `${showTime(snapshot.creationTime)}  ${snapshot.vmState}  ${snapshot.id.slice(0, 8)}`;
        output.text(
          `${prefix}${name}  ${await output.styled(about, 'dim')}${snapshot.isCurrent ? '  <- current' : ''}`,
        );
      }
      return undefined;
    }
    await output.list(
      snapshots,
      [
        { title: 'Name', text: (snapshot) => snapshot.name },
        { title: 'Created', text: (snapshot) => snapshot.creationTime },
        { title: 'State', text: (snapshot) => snapshot.vmState },
        { title: 'Parent', text: (snapshot) => snapshot.parentName ?? '-' },
        { title: 'Current', text: (snapshot) => (snapshot.isCurrent ? 'current' : '-') },
        { title: 'Id', text: (snapshot) => snapshot.id },
      ],
      'No snapshots.',
    );
    return undefined;
  },
});

/** Depth first, children in the order given, with the lines that join them. One whose parent is unknown is a root. */
export function snapshotTree(
  snapshots: readonly SnapshotInfo[],
): { readonly prefix: string; readonly snapshot: SnapshotInfo }[] {
  const ids = new Set(snapshots.map(({ id }) => id));
  const childrenOf = new Map<string | null, SnapshotInfo[]>();
  for (const snapshot of snapshots) {
    const parent = snapshot.parentId !== null && ids.has(snapshot.parentId) ? snapshot.parentId : null;
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), snapshot]);
  }
  const rows: { prefix: string; snapshot: SnapshotInfo }[] = [];
  const visit = (parent: string | null, indent: string): void => {
    const children = childrenOf.get(parent) ?? [];
    for (const [index, snapshot] of children.entries()) {
      const isLast = index === children.length - 1;
      rows.push({ prefix: parent === null ? '' : `${indent}${isLast ? '└─ ' : '├─ '}`, snapshot });
      visit(snapshot.id, parent === null ? '' : `${indent}${isLast ? '   ' : '│  '}`);
    }
  };
  visit(null, '');
  return rows;
}
