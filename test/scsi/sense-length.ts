/** How long sense data says it is: the additional length is the eighth byte of both forms. */
export function encodedLength(senseData: Uint8Array): number {
  return 8 + (senseData[7] ?? 0);
}
