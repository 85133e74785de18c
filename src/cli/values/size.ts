import { HvError } from '../../errors/index.ts';

const POWER_BY_UNIT: Readonly<Record<string, bigint>> = { '': 0n, K: 1n, M: 2n, G: 3n, T: 4n };
const FORM = 'Write bytes, or a number with K, M, G or T (powers of 1024): 2G, 512M, 1.5G, 1048576.';

/** Far above every disk format (64 TiB) and every machine's memory (12 TiB); beyond it a number loses bytes. */
const MAX_SIZE_BYTES = 2n ** 53n - 1n;

/**
 * Reads a size: bytes, or a number with K, M, G, T (powers of 1024; KB and KiB mean the same). Decimals are accepted where
 * they give whole bytes.
 * @throws HvError `invalid-argument`
 */
export function parseSize(text: string): number {
  const match = /^(?<sign>[-+]?)(?<whole>\d{1,40})(?:[.](?<decimals>\d{1,40}))?\s*(?<unit>[KMGT]?)(?:iB|B)?$/i.exec(
    text.trim(),
  );
  const { sign, whole, decimals = '', unit } = match?.groups ?? {};
  if (whole === undefined || unit === undefined) throw refusal(text, 'is not a size');
  const factor = 1024n ** (POWER_BY_UNIT[unit.toUpperCase()] ?? 0n);
  const scale = 10n ** BigInt(decimals.length);
  const scaled = BigInt(whole + decimals) * factor;
  if (sign === '-') throw refusal(text, 'is negative');
  if (scaled === 0n) throw refusal(text, 'is zero');
  if (scaled % scale !== 0n) throw refusal(text, 'is not a whole number of bytes');
  const bytes = scaled / scale;
  if (bytes > MAX_SIZE_BYTES) throw refusal(text, 'is larger than anything here can be');
  return Number(bytes);
}

function refusal(text: string, why: string): HvError {
  const shown = text.slice(0, 60);
  return new HvError('invalid-argument', `the size ${JSON.stringify(shown)} ${why}`, {
    detail: { what: 'size', value: shown },
    hint: FORM,
  });
}
