/**
 * formats/gpt: GUID partition tables.
 *
 *     GptSpec --encodeGpt--> [{ offset, bytes }, ...] --write--> disk --parseGpt--> Gpt
 *
 * Pure functions on bytes: the caller reads and writes them. Imports errors, binary and formats/mbr only.
 */
export { GPT_TYPE } from './format.ts';
export {
  encodeGpt,
  type Gpt,
  type GptPartition,
  type GptRegion,
  type GptSpec,
  gptUsableSectors,
  parseGpt,
} from './gpt.ts';
