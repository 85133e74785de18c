/** What is asked of a guest through its integration services or agent (Msvm_GuestNetworkAdapterConfiguration, Msvm_HeartbeatComponent). */
export interface GuestService {
  /** The guest's agent answers now. Windows: Msvm_HeartbeatComponent.OperationalStatus. */
  heartbeat(vmId: string): Promise<boolean>;

  /** Addresses as the guest reports them, loopback and link-local left out. Windows: Msvm_GuestNetworkAdapterConfiguration.IPAddresses. */
  ipAddresses(vmId: string): Promise<readonly { readonly macAddress: string; readonly addresses: readonly string[] }[]>;
}
