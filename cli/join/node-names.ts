import { isLoopbackHost } from '@rollcall/protocol';

const LOCAL_NAMES = ['localhost', '127.0.0.1', '::1'];

/**
 * The names in the certificates of a node that joins: its own, and the one in tokens of the fleet, which is that of the load balancer where there is
 * one. Devices that reach the node by that name refuse a certificate without it.
 */
export function namesOfNode(own: readonly string[], ofFleet: string): readonly string[] {
  return [...new Set([...own, ...(isLoopbackHost(ofFleet) ? [] : [ofFleet]), ...LOCAL_NAMES])];
}
