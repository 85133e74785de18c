/** SCSI as it travels: codes of SAM-4, SPC-4 and SBC-3. Multi-byte fields are big-endian. */

/** Status codes (SAM-4, 5.3.1). */
export const Status = { good: 0x00, checkCondition: 0x02 } as const;

/** Sense keys (SPC-4, 4.5.6). */
export const SenseKey = {
  noSense: 0x0,
  notReady: 0x2,
  mediumError: 0x3,
  hardwareError: 0x4,
  illegalRequest: 0x5,
  dataProtect: 0x7,
  abortedCommand: 0xb,
  miscompare: 0xe,
} as const;

/** Additional sense codes with their qualifiers: ASC in the upper byte (SPC-4, annex F). */
export const Asc = {
  none: 0x0000,
  notReadyInitializingCommandRequired: 0x0402,
  writeError: 0x0c00,
  unrecoveredReadError: 0x1100,
  parameterListLengthError: 0x1a00,
  miscompareDuringVerify: 0x1d00,
  invalidOperationCode: 0x2000,
  lbaOutOfRange: 0x2100,
  invalidFieldInCdb: 0x2400,
  invalidFieldInParameterList: 0x2600,
  writeProtected: 0x2700,
  spaceAllocationFailed: 0x2707,
  savingParametersNotSupported: 0x3900,
  internalTargetFailure: 0x4400,
  dataPhaseError: 0x4b00,
} as const;

export const Opcode = {
  testUnitReady: 0x00,
  requestSense: 0x03,
  read6: 0x08,
  write6: 0x0a,
  inquiry: 0x12,
  modeSelect6: 0x15,
  modeSense6: 0x1a,
  startStopUnit: 0x1b,
  preventAllowMediumRemoval: 0x1e,
  readCapacity10: 0x25,
  read10: 0x28,
  write10: 0x2a,
  writeAndVerify10: 0x2e,
  verify10: 0x2f,
  synchronizeCache10: 0x35,
  writeSame10: 0x41,
  unmap: 0x42,
  modeSelect10: 0x55,
  modeSense10: 0x5a,
  read16: 0x88,
  write16: 0x8a,
  writeAndVerify16: 0x8e,
  verify16: 0x8f,
  synchronizeCache16: 0x91,
  writeSame16: 0x93,
  serviceActionIn16: 0x9e,
  reportLuns: 0xa0,
  maintenanceIn: 0xa3,
  read12: 0xa8,
  write12: 0xaa,
  writeAndVerify12: 0xae,
  verify12: 0xaf,
} as const;

/** Service actions of SERVICE ACTION IN(16) and MAINTENANCE IN. */
export const ServiceAction = {
  readCapacity16: 0x10,
  getLbaStatus: 0x12,
  reportSupportedOperationCodes: 0x0c,
} as const;

/** The longest CDB of fixed length that there is. */
export const MAX_CDB_BYTES = 16;

/** How long a CDB with this operation code is; undefined for vendor-specific and variable ones (SPC-4, 4.2.5.1). */
export function cdbLength(opcode: number): number | undefined {
  const group = opcode >> 5;
  if (group === 0) return 6;
  if (group === 1 || group === 2) return 10;
  if (group === 4) return 16;
  if (group === 5) return 12;
  return undefined;
}
