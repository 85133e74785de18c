/** CRC-16 (polynomial 0x8005 reflected), going on from `register`: the checksum of descriptors under uninit_bg. */
export function crc16(bytes: Uint8Array, register: number): number {
  let crc = register;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xa001 : crc >>> 1;
  }
  return crc;
}
