import { randomInt } from 'node:crypto';
import { DESCRIPTOR_SECTORS, SECTOR } from './format.ts';

const HEADS = 16;
const SECTORS_PER_TRACK = 63;
const MAX_CYLINDERS = 16_383;
/** What stands for the extent's name where its own cannot be written there: readers of such a file look into the file itself. */
const OTHER_NAME = 'disk.vmdk';

/**
 * The text that describes the disk.
 * Source: VMware's Virtual Disk Format 5.0, "The Descriptor File".
 * @param fileName under which other programs look for the extent: the file's own
 */
export function descriptor(sizeBytes: number, fileName: string): Buffer {
  const sectors = sizeBytes / SECTOR;
  const cylinders = Math.min(MAX_CYLINDERS, Math.ceil(sectors / (HEADS * SECTORS_PER_TRACK)));
  const isWritable = /^[^"\p{C}]+$/u.test(fileName);
  const text = `# Disk DescriptorFile
version=1
CID=${randomInt(0xffff_fffe).toString(16).padStart(8, '0')}
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW ${sectors} SPARSE "${isWritable ? fileName : OTHER_NAME}"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
ddb.geometry.cylinders = "${cylinders}"
ddb.geometry.heads = "${HEADS}"
ddb.geometry.sectors = "${SECTORS_PER_TRACK}"
ddb.adapterType = "ide"
`;
  const bytes = Buffer.alloc(DESCRIPTOR_SECTORS * SECTOR);
  bytes.write(text);
  return bytes;
}
