/**
 * Every endpoint of the console in one table: method, path, access, request and response. The server
 * answers from it and the client asks by it, so neither can know a path that the other doesn't. A subject of its own is a
 * file of its own in `api/`, with its shapes; what the endpoints do stands in `routes/`.
 */

import { accountEndpoints } from './api/account.ts';
import { auditEndpoints } from './api/audit.ts';
import { caEndpoints } from './api/ca.ts';
import { certificateEndpoints } from './api/certificates.ts';
import { deviceMessageEndpoints } from './api/device-messages.ts';
import { deviceOperationEndpoints } from './api/device-operation-schemas.ts';
import { deviceEndpoints } from './api/devices.ts';
import { diagnosisEndpoints } from './api/diagnosis.ts';
import { eventEndpoints } from './api/events.ts';
import { groupEndpoints } from './api/groups.ts';
import { nodeEndpoints } from './api/nodes.ts';
import { oidcEndpoints } from './api/oidc.ts';
import { operatorSessionEndpoints } from './api/operator-sessions.ts';
import { operatorEndpoints } from './api/operators.ts';
import { overviewEndpoints } from './api/overview.ts';
import { passkeyEndpoints } from './api/passkeys.ts';
import { policyEndpoints } from './api/policies.ts';
import { refusalEndpoints } from './api/refusals.ts';
import { serverEndpoints } from './api/server.ts';
import { serviceEndpoints } from './api/services.ts';
import { sessionEndpoints } from './api/sessions.ts';
import { signInEndpoints } from './api/sign-in.ts';
import { simulationEndpoints } from './api/simulations.ts';
import { sinkEndpoints } from './api/sinks.ts';
import { telemetryEndpoints } from './api/telemetry.ts';
import { tokenEndpoints } from './api/tokens.ts';

export const endpoints = {
  ...tokenEndpoints,
  ...deviceEndpoints,
  ...deviceOperationEndpoints,
  ...deviceMessageEndpoints,
  ...diagnosisEndpoints,
  ...refusalEndpoints,
  ...sessionEndpoints,
  ...serviceEndpoints,
  ...certificateEndpoints,
  ...groupEndpoints,
  ...signInEndpoints,
  ...oidcEndpoints,
  ...accountEndpoints,
  ...passkeyEndpoints,
  ...operatorSessionEndpoints,
  ...operatorEndpoints,
  ...policyEndpoints,
  ...telemetryEndpoints,
  ...eventEndpoints,
  ...sinkEndpoints,
  ...auditEndpoints,
  ...caEndpoints,
  ...overviewEndpoints,
  ...nodeEndpoints,
  ...simulationEndpoints,
  ...serverEndpoints,
} as const;
