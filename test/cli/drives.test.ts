import { beforeEach, describe, expect, it } from 'vitest';
import { HostDouble } from './host-double.ts';
import { type Ran, run } from './in-process.ts';

let double: HostDouble;
const hv = (...words: string[]): Promise<Ran> => run(words, { double });
const errorOf = (ran: Ran): { code: string; hint?: string } => JSON.parse(ran.stderr).error;

beforeEach(() => {
  double = new HostDouble();
});

describe('hv disk', () => {
  it('adds, lists, bounds and removes a drive', async () => {
    double.add({ name: 'web1' });
    const added = await hv('disk', 'add', 'web1', '/x/data.vhdx', '--new', '1G', '--maximum-iops', '500');
    expect(added.stdout).toBe('Attached /x/data.vhdx (SCSI 0:0, 1 GiB) to web1.\n');
    const bounded = await hv('disk', 'set', 'web1', 'scsi:0:0', '--maximum-bandwidth', '50M', '--minimum-iops', '5');
    expect(bounded.stdout).toContain('at most 500 IOPS, at least 5 IOPS, at most 50 MiB/s');
    expect((await hv('disk', 'list', 'web1')).stdout).toMatch(
      /^scsi:0:0\t1 GiB\tat most 500 IOPS.*\t\/x\/data.vhdx\n$/,
    );
    await hv('disk', 'set', 'web1', 'SCSI:0:0', '--maximum-iops', 'none');
    const [drive] = JSON.parse((await hv('disk', 'list', 'web1', '--json')).stdout);
    expect(drive).toMatchObject({
      controllerType: 'SCSI',
      sizeBytes: 2 ** 30,
      qos: { maximumIops: null, minimumIops: 5, maximumBytesPerSecond: 50 * 2 ** 20 },
    });
    expect((await hv('disk', 'remove', 'web1', 'scsi:0:0')).status).toBe(0);
    expect(double.changes).toEqual([
      'add disk SCSI 0:0',
      'set disk SCSI 0:0',
      'set disk SCSI 0:0',
      'remove disk SCSI 0:0',
    ]);
  });

  it('changes nothing with --dry-run, and says what would be', async () => {
    double.add({ name: 'web1', generation: 1 });
    const ran = await hv('disk', 'add', 'web1', '/x/data.vhdx', '--controller', 'ide:1', '--dry-run');
    expect(ran.stdout).toMatch(/^Would attach \/x\/data.vhdx \(IDE 1:0.*to "web1"/);
    expect((await hv('disk', 'add-controller', 'web1', '--dry-run')).stdout).toContain('2 SCSI controllers');
    expect(double.changes).toEqual([]);
    expect((await hv('disk', 'add-controller', 'web1', '--json')).stdout).toContain('"scsiControllerCount":2');
  });

  it.each([
    ['scsi:0', 'a place that names no single drive'],
    ['sata:0:0', 'a controller that is none'],
    ['scsi:0:1:2', 'more than a place'],
  ])('refuses %s: %s', async (place) => {
    double.add({ name: 'web1' });
    const ran = await hv('disk', 'remove', 'web1', place, '--json');
    expect(ran.status).toBe(2);
    expect(errorOf(ran)).toMatchObject({ code: 'invalid-argument', hint: expect.stringContaining('scsi:0:1') });
  });

  it('ends with 4 where the machine is saved or its IDE is needed while it runs, with 3 where there is no drive', async () => {
    double.add({ name: 'saved', state: 'Saved' });
    double.add({ name: 'old', state: 'Running', generation: 1 });
    expect((await hv('disk', 'add', 'saved', '/x.vhdx')).status).toBe(4);
    expect((await hv('disk', 'add', 'old', '/x.vhdx', '--controller', 'ide')).status).toBe(4);
    expect((await hv('disk', 'add', 'old', '/x.vhdx')).stdout).toContain('SCSI 0:0');
    expect((await hv('disk', 'remove', 'old', 'scsi:0:9')).status).toBe(3);
  });
});

describe('hv dvd', () => {
  it('adds a drive, puts an image in, takes it out, takes the drive away', async () => {
    double.add({ name: 'web1' });
    expect((await hv('dvd', 'add', 'web1')).stdout).toBe('Gave web1 the DVD drive SCSI 0:0: empty.\n');
    expect((await hv('dvd', 'mount', 'web1', '/x/a.iso')).stdout).toBe('Mounted in web1 SCSI 0:0: /x/a.iso.\n');
    expect((await hv('dvd', 'list', 'web1')).stdout).toBe('scsi:0:0\t/x/a.iso\n');
    expect((await hv('dvd', 'eject', 'web1', '--dry-run')).stdout).toMatch(/^Would empty SCSI 0:0 of "web1"/);
    expect((await hv('dvd', 'eject', 'web1')).stdout).toBe('SCSI 0:0 of web1 is empty.\n');
    expect((await hv('dvd', 'remove', 'web1', 'scsi:0:0')).status).toBe(0);
    expect(double.changes).toEqual(['add dvd SCSI 0:0', 'mount /x/a.iso', 'eject', 'remove dvd SCSI 0:0']);
    expect((await hv('dvd', 'mount', 'web1', '/x/a.iso')).status).toBe(3);
  });
});
