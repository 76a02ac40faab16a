/** CRC-32C (Castagnoli; RFC 9260, appendix A), of the few hundred bytes of a header. */

const POLYNOMIAL = 0x82f63b78; // reflected

export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
