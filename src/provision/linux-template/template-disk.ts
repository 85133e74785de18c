import { type BlockDevice, createVhd, openVhd } from '../../disk/index.ts';

/** The smallest that a VHDX allows is 1 MiB; small blocks keep the template small, and it is not written to much. */
const BLOCK_SIZE_BYTES = 2 * 1024 * 1024;

/** Makes a dynamic VHDX with 512-byte sectors, has it filled, and closes it when everything is on the disk. */
export async function writeTemplateDisk(
  path: string,
  sizeBytes: number,
  fill: (device: BlockDevice) => Promise<void>,
): Promise<void> {
  await createVhd(path, { sizeBytes, type: 'dynamic', format: 'vhdx', blockSizeBytes: BLOCK_SIZE_BYTES });
  const disk = await openVhd(path, { format: 'vhdx' });
  try {
    await fill(disk);
  } finally {
    await disk.close();
  }
}
