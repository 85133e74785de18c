import { describe, expect, it } from 'vitest';
import { type KernelModule, modprobeTables, parseModuleInfo } from './kernel-modules.ts';

function moduleOf(name: string, dependsOn: readonly string[], aliases: readonly string[] = []): KernelModule {
  return { name, fileName: `${name}.ko`, data: new Uint8Array(), dependsOn, aliases };
}

describe('kernel modules', () => {
  it('are described by their .modinfo section', () => {
    const fields = [
      ...['license=GPL', 'alias=pci:v00001AF4d*sv*sd*bc*sc*i*', 'alias=virtio:d00000001v*'],
      ...['softdep=pre: crc32c lz4-compress post: other', 'depends=virtio_ring,virtio-pci,', 'alias=a b'],
    ];
    expect(parseModuleInfo(Buffer.from(`${fields.join('\0')}\0`))).toEqual({
      depends: ['virtio_ring', 'virtio_pci'],
      softDependencies: ['crc32c', 'lz4_compress'],
      aliases: ['pci:v00001AF4d*sv*sd*bc*sc*i*', 'virtio:d00000001v*'],
    });
    expect(parseModuleInfo(Buffer.from('depends=\0'))).toEqual({ depends: [], softDependencies: [], aliases: [] });
  });

  it('are listed for modprobe with what must come first furthest right', () => {
    const modules = [
      moduleOf('common', []),
      moduleOf('core', ['common']),
      moduleOf('ring', []),
      moduleOf('driver', ['core', 'ring', 'absent'], ['pci:v*']),
    ];
    const { dep, alias } = modprobeTables(modules);
    expect(dep).toBe('common.ko:\ncore.ko: common.ko\nring.ko:\ndriver.ko: ring.ko core.ko common.ko\n');
    expect(alias).toBe('alias pci:v* driver\n');
  });
});
