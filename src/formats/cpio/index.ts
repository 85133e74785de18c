/**
 * formats/cpio: writes "newc" archives, as Linux unpacks them into its first root file system.
 *
 *     CpioEntry[] --encodeCpio--> bytes
 *
 * Pure functions on bytes. Imports errors only.
 */
export { type CpioEntry, encodeCpio } from './newc.ts';
