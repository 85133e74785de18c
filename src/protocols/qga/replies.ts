import { isIP } from 'node:net';
import { z } from 'zod';
import { HvError } from '../../errors/index.ts';
import { printableGuestText } from '../printable-text.ts';

/**
 * Shapes of the agent's answers (QEMU qga/qapi-schema.json), validated once: the guest is hostile. Loaded with the first
 * command only, for the validator takes longer to load than a monitor to greet.
 */
const text = z.string().transform((value) => printableGuestText(value, { maxLength: 256 }));
const shortText = z.string().transform((value) => printableGuestText(value, { maxLength: 64 }));
const count = z.number().int().nonnegative();

const MAC_ADDRESS = /^[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}$/i;

/** Ethernet only; other links (InfiniBand has 20 bytes) have none that hv could match. */
const macAddress = z
  .string()
  .transform((value) => (MAC_ADDRESS.test(value) ? value.toLowerCase().replaceAll('-', ':') : undefined));

const ipAddress = z
  .object({
    // A zone such as %eth0 belongs to the guest.
    'ip-address': z
      .string()
      .max(128)
      .transform((value) => value.replace(/%.*$/s, '')),
    prefix: z.number().int().min(0).max(128),
  })
  .refine((entry) => isIP(entry['ip-address']) !== 0, 'not an IP address')
  .transform((entry) => ({ address: entry['ip-address'], prefixLength: entry.prefix }));

export const networkInterfacesReply = z
  .array(
    z
      .object({
        name: shortText,
        'hardware-address': macAddress.optional(),
        'ip-addresses': z.array(ipAddress).max(1024).optional(),
        statistics: z
          .object({ 'rx-bytes': count, 'tx-bytes': count, 'rx-packets': count, 'tx-packets': count })
          .optional()
          .catch(undefined), // counted or not, the addresses are worth having
      })
      .transform((entry) => ({
        name: entry.name,
        macAddress: entry['hardware-address'],
        addresses: entry['ip-addresses'] ?? [],
        statistics: entry.statistics && {
          receivedBytes: entry.statistics['rx-bytes'],
          sentBytes: entry.statistics['tx-bytes'],
          receivedPackets: entry.statistics['rx-packets'],
          sentPackets: entry.statistics['tx-packets'],
        },
      })),
  )
  .max(4096);

export type GuestNetworkInterface = z.output<typeof networkInterfacesReply>[number];

export const infoReply = z
  .object({
    version: shortText,
    supported_commands: z.array(z.object({ name: shortText, enabled: z.boolean() })).max(4096),
  })
  .transform((reply) => ({
    version: reply.version,
    /** The commands that this agent has and that its administrator has not disabled. */
    commands: reply.supported_commands.filter((command) => command.enabled).map((command) => command.name),
  }));

export type GuestAgentInfo = z.output<typeof infoReply>;

export const osInfoReply = z
  .object({
    id: text.optional(),
    name: text.optional(),
    'pretty-name': text.optional(),
    version: text.optional(),
    'version-id': text.optional(),
    machine: text.optional(),
    'kernel-release': text.optional(),
    'kernel-version': text.optional(),
  })
  .transform((reply) => ({
    id: reply.id,
    name: reply.name,
    prettyName: reply['pretty-name'],
    version: reply.version,
    versionId: reply['version-id'],
    machine: reply.machine,
    kernelRelease: reply['kernel-release'],
    kernelVersion: reply['kernel-version'],
  }));

export type GuestOsInfo = z.output<typeof osInfoReply>;

export const hostNameReply = z.object({ 'host-name': text }).transform((reply) => reply['host-name']);

/** Nanoseconds since 1970; beyond 2 ** 53 a JSON number keeps them to 256 ns, and milliseconds are what hv shows. */
export const timeReply = z
  .number()
  .min(-8.64e21)
  .max(8.64e21)
  .transform((nanoseconds) => Math.round(nanoseconds / 1e6));

export const usersReply = z
  .array(
    z
      .object({ user: text, domain: text.optional(), 'login-time': z.number().min(-8.64e12).max(8.64e12) })
      .transform((entry) => ({
        user: entry.user,
        domain: entry.domain ?? null,
        loginTime: new Date(entry['login-time'] * 1000).toISOString(),
      })),
  )
  .max(4096);

export type GuestUser = z.output<typeof usersReply>[number];

export const filesystemsReply = z
  .array(
    z
      .object({
        name: text,
        mountpoint: text,
        type: shortText,
        'used-bytes': count.optional(),
        'total-bytes': count.optional(),
      })
      .transform((entry) => ({
        device: entry.name,
        mountPoint: entry.mountpoint,
        type: entry.type,
        usedBytes: entry['used-bytes'] ?? null,
        totalBytes: entry['total-bytes'] ?? null,
      })),
  )
  .max(4096);

export type GuestFilesystem = z.output<typeof filesystemsReply>[number];

export const timeZoneReply = z
  .object({ zone: shortText.optional(), offset: z.number().int().min(-86_400).max(86_400) })
  .transform((reply) => ({ name: reply.zone ?? null, offsetSeconds: reply.offset }));

export type GuestTimeZone = z.output<typeof timeZoneReply>;

export const countReply = count;
export const freezeStatusReply = z.enum(['thawed', 'frozen']);

export const execReply = z.object({ pid: count }).transform((reply) => reply.pid);

export const execStatusReply = z.object({
  exited: z.boolean(),
  exitcode: z.number().int().optional(),
  signal: z.number().int().optional(),
  'out-data': z.string().optional(),
  'err-data': z.string().optional(),
  'out-truncated': z.boolean().optional(),
  'err-truncated': z.boolean().optional(),
});

export const fileHandleReply = z.number().int();
export const fileReadReply = z.object({ count, 'buf-b64': z.string(), eof: z.boolean() });
export const fileWriteReply = z.object({ count, eof: z.boolean() });

/** @throws HvError `protocol` with the place and the complaint */
export function parseReply<T>(schema: z.ZodType<T>, reply: unknown, command: string): T {
  const result = schema.safeParse(reply);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new HvError('protocol', `the guest agent's answer to ${command} has not the shape it must have`, {
    detail: {
      command,
      at: printableGuestText((issue?.path ?? []).map(String).join('.'), { maxLength: 128 }),
      problem: printableGuestText(issue?.message ?? '', { maxLength: 256 }),
    },
  });
}
