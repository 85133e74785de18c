import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findProgram, runProgram } from '../../src/system/index.ts';
import { initiator, rangeCdb } from './target.ts';

/** A second reader: sg3_utils decode what devices answer from files in hexadecimal, without a device. */
const found = await findProgram('sg_vpd');

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-sg3-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function decode(program: string, args: readonly string[], answer: Uint8Array): Promise<string> {
  const path = join(folder, 'answer.hex');
  await writeFile(path, Buffer.from(answer).toString('hex').replaceAll(/../g, '$& '));
  const { stdout } = await runProgram(program, [...args, `--inhex=${path}`], { deadlineMs: 10_000 });
  return stdout.toString('latin1');
}

describe.skipIf(!found)(
  `sg3_utils reads the disk’s answers${found ? '' : ' (skipped: sg3-utils is not installed)'}`,
  () => {
    it('inquiry data', async () => {
      const text = await decode('sg_inq', ['-d'], (await initiator().send('12 00 00 00 60 00')).dataIn);
      expect(text).toMatch(/Vendor identification: Msft/);
      expect(text).toMatch(/Product identification: Virtual Disk/);
      expect(text).toMatch(/Product revision level: 1\.0/);
      expect(text).toMatch(/version=0x06\s+\[SPC-4\]/);
      for (const standard of ['SAM-4', 'SPC-4', 'SBC-3']) expect(text).toContain(`${standard} (no version claimed)`);
    });

    it('vital product data', async () => {
      const { send } = initiator();
      const page = async (code: string): Promise<string> =>
        decode('sg_vpd', [`--page=0x${code}`], (await send(`12 01 ${code} 00 ff 00`)).dataIn);
      expect(await page('00')).toMatch(/\[sn\][\s\S]*\[di\][\s\S]*\[bl\][\s\S]*\[bdc\][\s\S]*\[lbpv\]/);
      expect(await page('80')).toMatch(/Unit serial number: 00112233445566778899aabbccddeeff/);
      expect(await page('83')).toMatch(/vendor id: Msft[\s\S]*0x6002248000112233445566778899aabb/);
      const limits = await page('b0');
      expect(limits).toMatch(/Maximum transfer length: 65536 blocks/);
      expect(limits).toMatch(/Optimal transfer length granularity: 8 blocks/);
      expect(limits).toMatch(/Maximum unmap block descriptor count: 256/);
      expect(limits).toMatch(/Maximum write same length: 0x200000 blocks/);
      expect(await page('b1')).toMatch(/Non-rotating medium/);
      const provisioning = await page('b2');
      expect(provisioning).toMatch(/\(LBPU\): 1[\s\S]*\(LBPWS\): 1[\s\S]*\(LBPWS10\): 1[\s\S]*\(LBPRZ\): 1/);
      expect(provisioning).toMatch(/Provisioning type: 2/);
    });

    it('status of blocks', async () => {
      const { send, device } = initiator();
      device.write(4096, Buffer.alloc(4096, 1), 0, 4096);
      const text = await decode(
        'sg_get_lba_status',
        ['--maxlen=1024'],
        (await send(rangeCdb(0x9e, 0, 1024, 0x12))).dataIn,
      );
      expect(text).toMatch(/0x0+\s+blocks:\s+8\s+deallocated/);
      expect(text).toMatch(/0x0*8\s+blocks:\s+8\s+mapped/);
    });

    it('sense data of both forms', async () => {
      for (const senseFormat of ['fixed', 'descriptor'] as const) {
        const { send } = initiator({ senseFormat });
        const bytes = (await send(rangeCdb(0x28, 2 ** 20, 1))).senseData;
        const { stdout } = await runProgram(
          'sg_decode_sense',
          [...bytes].map((byte) => byte.toString(16)),
          { deadlineMs: 10_000 },
        );
        const text = stdout.toString('latin1');
        expect(text).toMatch(/Sense key: Illegal Request/);
        expect(text).toMatch(/Logical block address out of range/);
        expect(text).toMatch(/0x0*100000/);
        const wrong = (await send('12 02 00 00 60 00')).senseData;
        const field = await runProgram(
          'sg_decode_sense',
          [...wrong].map((byte) => byte.toString(16)),
          { deadlineMs: 10_000 },
        );
        expect(field.stdout.toString('latin1')).toMatch(/Error in Command: byte 1 bit 1/);
      }
    });
  },
);
