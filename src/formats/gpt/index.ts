/**
 * formats/gpt: GUID partition tables.
 *
 *     GptSpec --encodeGpt--> [{ offset, bytes }, ...] --write--> disk --parseGpt--> Gpt
 *     disk --readGptCopy--> GptCopy --placeGpt--> both copies for another size of the disk
 *
 * Pure functions on bytes: the caller reads and writes them. Imports errors, binary and formats/mbr only.
 */
export { GPT_PRIMARY_LBA, GPT_TYPE } from './format.ts';
export {
  encodeGpt,
  type Gpt,
  type GptPartition,
  type GptRegion,
  type GptSpec,
  gptOf,
  gptUsableSectors,
  parseGpt,
} from './gpt.ts';
export {
  type GptCopy,
  type GptPlacement,
  type GptRead,
  gptTableSectors,
  isGptHeader,
  placeGpt,
  readGptCopy,
} from './gpt-copy.ts';
