/** Words for disks, as they are typed. */
export const DISK_TYPES = ['dynamic', 'fixed', 'differencing'] as const;
export const IMAGE_FORMATS = ['vhdx', 'vhd', 'raw', 'qcow2', 'vmdk', 'vdi'] as const;
