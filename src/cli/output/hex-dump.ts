const BYTES_PER_LINE = 16;

/** Offset, sixteen bytes, and what of them can be printed; lines that repeat the one before become a `*`. */
export function hexDump(bytes: Uint8Array): string {
  const lines: string[] = [];
  let before: Buffer | undefined;
  let isRepeat = false;
  for (let at = 0; at < bytes.length; at += BYTES_PER_LINE) {
    const line = Buffer.from(bytes.subarray(at, at + BYTES_PER_LINE));
    const isLast = at + BYTES_PER_LINE >= bytes.length;
    if (before?.equals(line) && !isLast) {
      if (!isRepeat) lines.push('*');
      isRepeat = true;
      continue;
    }
    isRepeat = false;
    before = line;
    const hex = [...line].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const text = line.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '.');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex.padEnd(BYTES_PER_LINE * 3 - 1)}  ${text}`);
  }
  return lines.join('\n');
}
