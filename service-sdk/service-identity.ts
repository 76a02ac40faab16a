import type { Credentials } from '@rollcall/device-sdk/building-blocks';
import type { ServiceName } from '@rollcall/protocol';

/** A service with its credentials and the addresses of its servers. */
export interface ServiceIdentity extends Credentials {
  readonly name: ServiceName;
}
