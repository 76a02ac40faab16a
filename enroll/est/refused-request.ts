import type { DeviceId, Identity, ProblemCode } from '@rollcall/protocol';
import type { RefusedCertificate } from '../../limits/index.ts';

/** A request to enroll or renew that was refused, for the events of the fleet. */
export interface RefusedRequest {
  /** Milliseconds since the epoch, by the server's clock. */
  readonly at: number;
  /** `renew` includes recovery and the question when to renew. */
  readonly operation: 'enroll' | 'renew';
  readonly code: ProblemCode;
  readonly reason: string | undefined;
  readonly address: string;
  /** The id of the bootstrap token, also of one that the registry does not know. */
  readonly tokenId: string | undefined;
  /** The device id that an enrollment asked for. */
  readonly deviceId: DeviceId | undefined;
  /** The holder of a client certificate that this fleet issued. */
  readonly holder: Identity | undefined;
  /** Empty without a client certificate. */
  readonly certificate: RefusedCertificate;
}
