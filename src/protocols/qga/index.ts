/**
 * qga: the client of the QEMU guest agent.
 *
 *   unix socket of the virtio-serial port -> AgentConnection (0xFF synchronisation, one exchange at a time, bounded)
 *     -> GuestAgentClient, which is a GuestAgent (commands) -> replies (shapes; text without control characters)
 *
 * GuestAgent has the commands over anything that carries one: exec polls for a program's end, GuestFile moves pieces.
 *
 * The guest is hostile. This room holds no policy about virtual machines and must not import model, host or engines.
 */
export { type PrintableTextOptions, printableGuestText } from '../printable-text.ts';
export { AGENT_HINT } from './agent-connection.ts';
export { type GuestExecOptions, type GuestExecResult, MAX_OUTPUT_BYTES } from './exec.ts';
export { GuestAgent, type GuestAgentCall, type GuestAgentCallOptions } from './guest-agent.ts';
export { GuestAgentClient, type GuestAgentOptions } from './guest-agent-client.ts';
export { FILE_PIECE_BYTES, GuestFile } from './guest-file.ts';
export type { GuestAgentInfo, GuestNetworkInterface, GuestOsInfo } from './replies.ts';
