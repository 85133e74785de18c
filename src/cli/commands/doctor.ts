import { defineCommand } from '../definition.ts';
import { EXIT } from '../exit-status.ts';
import type { Style } from '../output/output.ts';
import { terminalLine } from '../output/terminal-text.ts';

const STYLES: Readonly<Record<string, Style>> = { ok: 'green', warning: 'yellow', missing: 'red' };

export const command = defineCommand({
  name: 'doctor',
  summary: 'Check what this host lacks, each with its fix',
  description: 'Ends with status 10 where something is missing that machines need.',
  examples: ['doctor', 'doctor --json'],
  changes: false,
  async run({ open, output }) {
    const findings = await (await open()).doctor();
    await output.result(findings, async () => {
      const lines: string[] = [];
      for (const { status, title, message, fix } of findings) {
        const mark = await output.styled(status.padEnd(8), STYLES[status]);
        lines.push(`${mark} ${terminalLine(title)}: ${terminalLine(message)}`);
        if (fix !== null) lines.push(`         fix: ${terminalLine(fix)}`);
      }
      return lines.join('\n');
    });
    return findings.some(({ status }) => status === 'missing') ? EXIT.answerNo : EXIT.done;
  },
});
