import type { DependencyFile, DependentFile } from '../../../disk/index.ts';
import { ALLOW_PARENT, argument, defineCommand } from '../../definition.ts';
import { terminalLine } from '../../output/terminal-text.ts';
import { showBytes } from '../../output/units.ts';
import { parsePath } from '../../values/path.ts';

export const command = defineCommand({
  name: 'vhd dependencies',
  summary: 'Show on which files a disk stands, which stand on it, which machines use it, and where it is mounted',
  description:
    'Down from the lowest parent that can be found; the disk itself is marked. A parent that was written since its child was made is `changed`. Disks that stand on it are looked for in its own folder.',
  arguments: { file: argument('The disk file', parsePath) },
  options: { allowParent: ALLOW_PARENT },
  examples: ['vhd dependencies child.vhdx', 'vhd dependencies child.vhdx --json'],
  changes: false,
  async run({ args, options, disks, output, signal }) {
    const service = await disks();
    const { chain, children, childrenComplete } = await service.dependencies(args.file, {
      allowParents: options.allowParent,
      signal,
    });
    const users = await service.users(args.file);
    const mounts = (await service.attached()).filter(({ path }) => path === chain[0]?.path);
    await output.result({ chain, children, childrenComplete, users, mounts }, () => {
      const lines = [...chainLines(chain), ...childLines(children, '   '.repeat(chainDepth(chain)))];
      if (!childrenComplete) lines.push('The folder holds more than was looked at.');
      for (const { name, as } of users) {
        lines.push(terminalLine(`Used by the machine "${name}"${as === 'parent' ? ' as a parent' : ''}`));
      }
      for (const { devicePath, filePath } of mounts) lines.push(terminalLine(`Mounted as ${devicePath ?? filePath}`));
      return lines.join('\n');
    });
    return undefined;
  },
});

/** A parent that cannot be followed is a line of its own at the top. */
function isCut({ parentState, parentPath }: DependencyFile): boolean {
  return parentPath !== null && parentState !== 'ok' && parentState !== 'changed';
}

function chainDepth(chain: readonly DependencyFile[]): number {
  const top = chain.at(-1);
  return chain.length - 1 + (top && isCut(top) ? 1 : 0);
}

function chainLines(chain: readonly DependencyFile[]): string[] {
  const fromTop = [...chain].reverse();
  const [top] = fromTop;
  const lines: string[] = [];
  if (top && isCut(top)) lines.push(terminalLine(`${top.parentPath}  (${top.parentState})`));
  for (const [index, file] of fromTop.entries()) {
    const branch = lines.length === 0 ? '' : `${'   '.repeat(lines.length - 1)}└─ `;
    const notes = [
      file.type === file.format ? file.format : `${file.format}, ${file.type}`,
      showBytes(file.virtualSizeBytes),
      ...(file.parentState === 'changed' ? ['its parent was changed'] : []),
      ...(file.inUse ? ['in use'] : []),
    ];
    const mark = index === fromTop.length - 1 ? '  <- this disk' : '';
    lines.push(`${branch}${terminalLine(file.path)}  ${notes.join(', ')}${mark}`);
  }
  return lines;
}

function childLines(children: readonly DependentFile[], indent: string): string[] {
  return children.flatMap((child, index) => {
    const isLast = index === children.length - 1;
    const note = child.parentState === 'changed' ? '  its parent was changed' : '';
    return [
      `${indent}${isLast ? '└─ ' : '├─ '}${terminalLine(child.path)}${note}`,
      ...childLines(child.children, `${indent}${isLast ? '   ' : '│  '}`),
    ];
  });
}
