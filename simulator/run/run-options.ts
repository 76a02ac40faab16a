/** The options of a run, and the error of a run that can't begin. */

import type { BrokerNames } from '../devices/broker-names.ts';
import type { TlsIdentity } from '../devices/tls-connections.ts';
import type { Scenario } from '../scenario/schema.ts';
import type { RunSnapshot } from './record.ts';
import type { OperatorAccess, ServerControl } from './server-access.ts';
import type { PlacementStrategy } from './shard-placement.ts';

export interface TargetBroker {
  /** PEM of the CAs of its certificate; without it, the root of the devices. */
  readonly caPem?: string | undefined;
  /** The name in its certificate, which is also sent as SNI; without it, the host of its URL. */
  readonly serverName?: string | undefined;
  readonly names: BrokerNames;
  /** Of the subscribed service; without it, a name of the run. */
  readonly serviceClientId?: string | undefined;
}

export interface RunOptions {
  readonly scenario: Scenario;
  /** Text of each recording, by the path in the scenario. */
  readonly recordings: ReadonlyMap<string, string>;
  /** `mqtts://host:port`; without it, what the enroll server announces. */
  readonly mqttUrl?: string | undefined;
  /** Where `mqttUrl` is a broker that the user named: its certificate is checked before the run, and devices send their whole chain. */
  readonly targetBroker?: TargetBroker | undefined;
  readonly operator?: OperatorAccess | undefined;
  readonly server?: ServerControl | undefined;
  /** Devices that were enrolled before, by id; taken in their order. */
  readonly identities?: ReadonlyMap<string, TlsIdentity> | undefined;
  /** PEM; needed where no bootstrap token names it. */
  readonly rootPem?: string | undefined;
  /** Of the subscribed service, where no operator can issue one. */
  readonly serviceIdentity?: TlsIdentity | undefined;
  /** Before the names of all devices: runs on one server must not share it. */
  readonly prefix: string;
  /** Where the devices run; without it in threads of this process, one per core. */
  readonly placement?: PlacementStrategy;
  readonly versions: Readonly<Record<string, string>>;
  readonly onSecond?: (snapshot: RunSnapshot) => void;
  /** Ends the run early, with a verdict. */
  readonly signal?: AbortSignal;
  readonly keepIdentities?: (identities: ReadonlyMap<string, TlsIdentity>, rootPem: string) => void;
}

/** A run that can't begin: the message says what was expected. */
export class RunRefused extends Error {
  override readonly name = 'RunRefused';
}
