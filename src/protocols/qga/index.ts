/**
 * qga: the client of the QEMU guest agent.
 *
 *   unix socket of the virtio-serial port -> AgentConnection (0xFF synchronisation, one exchange at a time, bounded)
 *     -> GuestAgentClient (commands) -> replies (shapes; text without control characters)
 *
 * The guest is hostile. This room holds no policy about virtual machines and must not import model, host or engines.
 */
export { type PrintableTextOptions, printableGuestText } from '../printable-text.ts';
export {
  type GuestAgentCallOptions,
  GuestAgentClient,
  type GuestAgentOptions,
  type GuestExecOptions,
  type GuestExecResult,
} from './guest-agent-client.ts';
export type { GuestAgentInfo, GuestNetworkInterface, GuestOsInfo } from './replies.ts';
