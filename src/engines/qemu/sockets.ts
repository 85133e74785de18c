/** The sockets of a running machine, in its run folder. */
export const SOCKETS = {
  control: 'control.sock',
  nbd: 'nbd.sock',
  qmp: 'qmp.sock',
  serial: 'serial.sock',
  agent: 'agent.sock',
  state: 'state.sock',
  vnc: 'vnc.sock',
} as const;
