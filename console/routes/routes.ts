/** Adds the routes of every subject of the API; each subject has a file here and one in `api/`. */

import type { FastifyInstance } from 'fastify';
import type { Registry } from '../../registry/index.ts';
import type { Telemetry } from '../../telemetry/index.ts';
import type { AccessControl } from '../access.ts';
import type { OidcSignIn } from '../auth/oidc/oidc-sign-in.ts';
import type { OperatorCertificates } from '../auth/operator-certificates.ts';
import type { OperatorSignIn } from '../auth/operator-sign-in.ts';
import type { Followers } from '../followers.ts';
import type { ServerControls } from '../server-controls.ts';
import { addAccountRoutes } from './account.ts';
import { addAuditRoutes } from './audit.ts';
import { addCaRoutes } from './ca.ts';
import { addCertificateRoutes } from './certificates.ts';
import { addDeviceOperationRoutes } from './confirm-device-operations.ts';
import { addDeviceMessageRoutes } from './device-messages.ts';
import { addDeviceRoutes } from './devices.ts';
import { addDiagnosisRoutes } from './diagnosis.ts';
import { addEventRoutes, type EventFeed } from './events.ts';
import { addGroupRoutes } from './groups.ts';
import { addNodeRoutes } from './nodes.ts';
import { addOidcRoutes } from './oidc.ts';
import { addOperatorSessionRoutes } from './operator-sessions.ts';
import { addOperatorRoutes } from './operators.ts';
import { addOverviewRoutes } from './overview.ts';
import { addPasskeyRoutes } from './passkeys.ts';
import { addPolicyRoutes } from './policies.ts';
import { addRefusalRoutes } from './refusals.ts';
import { addServerRoutes } from './server.ts';
import { addServiceRoutes } from './services.ts';
import { addSessionRoutes } from './sessions.ts';
import { addSignInRoutes } from './sign-in.ts';
import { addSimulationRoutes } from './simulations.ts';
import { addSinkRoutes, type SinkControl } from './sinks.ts';
import { addTelemetryRoutes } from './telemetry.ts';
import { addTokenRoutes } from './tokens.ts';

export interface RoutesOptions {
  readonly registry: Registry;
  readonly telemetry: Telemetry;
  readonly events: EventFeed;
  readonly sinks: SinkControl;
  readonly followers: Followers;
  readonly controls: ServerControls;
  readonly access: Pick<AccessControl, 'identify'>;
  readonly signIn: OperatorSignIn;
  /** Undefined: the listener asks for no client certificate. */
  readonly certificates: OperatorCertificates | undefined;
  /** Undefined without an identity provider. */
  readonly oidc: OidcSignIn | undefined;
  /** Of a one-time link, with its secret in the fragment. */
  readonly linkUrl: (secret: string) => string;
  readonly version: string;
  readonly runtime: string;
  /** The name of this node among several; `main` where the server is alone. */
  readonly node: string;
  readonly now: () => number;
}

export function addRoutes(app: FastifyInstance, options: RoutesOptions): void {
  addTokenRoutes(app, options);
  addSimulationRoutes(app, options);
  addDeviceRoutes(app, options);
  addDeviceOperationRoutes(app, options);
  addDeviceMessageRoutes(app, options);
  addDiagnosisRoutes(app, options);
  addRefusalRoutes(app, options);
  addSessionRoutes(app, options);
  addServiceRoutes(app, options);
  addCertificateRoutes(app, options);
  addGroupRoutes(app, options);
  addSignInRoutes(app, options);
  addOidcRoutes(app, options);
  addAccountRoutes(app, options);
  addPasskeyRoutes(app, options);
  addOperatorSessionRoutes(app, options);
  addOperatorRoutes(app, options);
  addPolicyRoutes(app, options);
  addTelemetryRoutes(app, options);
  addEventRoutes(app, options);
  addSinkRoutes(app, options);
  addAuditRoutes(app, options);
  addCaRoutes(app, options);
  addOverviewRoutes(app, options);
  addNodeRoutes(app, options);
  addServerRoutes(app, options);
}
