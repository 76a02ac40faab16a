/**
 * Behaviour of every registry, independent of its database. Called by the test of each implementation.
 */

import { describe } from 'vitest';
import { auditBehaviour } from './registry-audit.ts';
import { certificateRevocationBehaviour } from './registry-certificate-revocation.ts';
import { deviceStatusBehaviour } from './registry-device-status.ts';
import { enrollmentBehaviour } from './registry-enrollment.ts';
import { expiryBehaviour } from './registry-expiry.ts';
import { findBehaviour } from './registry-find.ts';
import type { OpenFreshRegistry } from './registry-fixture.ts';
import { idempotencyKeyBehaviour } from './registry-idempotency-keys.ts';
import { identityBehaviour } from './registry-identities.ts';
import { issuerBehaviour, renewalWindowBehaviour } from './registry-issuers.ts';
import { nameBehaviour } from './registry-names.ts';
import { operatorBehaviour } from './registry-operators.ts';
import { policyBehaviour } from './registry-policies.ts';
import { profileBehaviour } from './registry-profiles.ts';
import { recordBehaviour } from './registry-records.ts';
import { recoveryBehaviour } from './registry-recovery.ts';
import { revocationBehaviour } from './registry-revocation.ts';
import { selectionBehaviour } from './registry-selection.ts';
import { signInBehaviour } from './registry-sign-in.ts';
import { supersessionBehaviour } from './registry-supersession.ts';
import { tokenBehaviour } from './registry-tokens.ts';

export function registryBehaviour(name: string, openFresh: OpenFreshRegistry): void {
  describe(`a registry on ${name}`, () => {
    tokenBehaviour(openFresh);
    enrollmentBehaviour(openFresh);
    nameBehaviour(openFresh);
    revocationBehaviour(openFresh);
    certificateRevocationBehaviour(openFresh);
    deviceStatusBehaviour(openFresh);
    selectionBehaviour(openFresh);
    recordBehaviour(openFresh);
    auditBehaviour(openFresh);
    issuerBehaviour(openFresh);
    renewalWindowBehaviour(openFresh);
    supersessionBehaviour(openFresh);
    recoveryBehaviour(openFresh);
    profileBehaviour(openFresh);
    policyBehaviour(openFresh);
    expiryBehaviour(openFresh);
    findBehaviour(openFresh);
    operatorBehaviour(openFresh);
    idempotencyKeyBehaviour(openFresh);
    identityBehaviour(openFresh);
    signInBehaviour(openFresh);
  });
}
