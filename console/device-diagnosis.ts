/** What is known about a device that cannot enroll, connect or renew. Times are milliseconds since the epoch. */

import type { DeviceId } from '@rollcall/protocol';
import type { CertificateRecord, DeviceRecord, TokenRecord } from '../registry/index.ts';
import type { LiveSession } from './server-controls.ts';

/** Refusals of one kind and reason, with one certificate or token. */
export interface Refusal {
  readonly kind: 'connection' | 'enrollment' | 'renewal';
  /** A reason of the broker, or the code of a problem. */
  readonly code: string;
  readonly detail: string | undefined;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly count: number;
  /** The rate limit of events left some out. */
  readonly isAtLeast: boolean;
  /** A few of the newest. */
  readonly addresses: readonly string[];
  readonly token: string | undefined;
  /** What the client presented; no check has confirmed it. */
  readonly certificate:
    | {
        readonly subject: string | undefined;
        readonly issuer: string | undefined;
        readonly serial: string;
        readonly notBefore: string | undefined;
        readonly notAfter: string | undefined;
      }
    | undefined;
  /**
   * Why it belongs to the device. `device`: the server knew who it was, or the request named it. `certificate`: it was issued to the device.
   * `token`: the token is for the device. `name`: an untrusted certificate names the device. `address`: it came from the device's last address.
   */
  readonly attribution: 'device' | 'certificate' | 'token' | 'name' | 'address';
  /** The check that failed. */
  readonly sentence: string;
  readonly remedy: string;
}

export interface DiagnosisOrder {
  readonly device: DeviceId;
  /** A bootstrap token whose refusals count as well. */
  readonly token: string | undefined;
  readonly since: number;
}

export interface DeviceDiagnosis {
  readonly device: DeviceId;
  readonly serverTime: number;
  /** The beginning of the time in which refusals were looked for. */
  readonly since: number;
  /** With its presence. Undefined for a device that never enrolled, or was deleted. */
  readonly record: DeviceRecord | undefined;
  /** The newest one. */
  readonly certificate: CertificateRecord | undefined;
  readonly session: LiveSession | undefined;
  /** Those that were created for the device. */
  readonly tokens: readonly TokenRecord[];
  /** Newest first, at most 20. */
  readonly refusals: readonly Refusal[];
}
