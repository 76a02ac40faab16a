/** Resolves the policy that applies to a subject. Documents of the registry are checked once and cached until they change. */

import {
  DEFAULT_DEVICE_POLICY,
  DEFAULT_SERVICE_POLICY,
  type PolicyDocument,
  type PolicyScope,
  policyScopes,
  QUARANTINE_POLICY,
  QUARANTINE_SCOPE,
  type TopicLimits,
} from '@rollcall/protocol';
import type { Logger } from 'pino';
import { DENY_ALL, Rights, type Subject } from './acl.ts';
import { checkPolicy } from './policy-faults.ts';

/** The part of the registry that stores policies. */
export interface PolicyDirectory {
  findPolicy(scope: PolicyScope): Promise<PolicyDocument | undefined>;
  onPolicyChange(listener: (scope: PolicyScope) => void): () => void;
}

/** The policy that decides for a subject, and where it comes from. */
export interface AppliedPolicy {
  readonly document: PolicyDocument;
  /** `built-in` when none was set. */
  readonly source: PolicyScope | 'built-in';
}

export class PolicyResolver {
  readonly #directory: PolicyDirectory;
  readonly #limits: TopicLimits;
  readonly #log: Logger;
  readonly #documents = new Map<PolicyScope, PolicyDocument | undefined>();
  #version = 0;

  constructor(directory: PolicyDirectory, limits: TopicLimits, log: Logger) {
    this.#directory = directory;
    this.#limits = limits;
    this.#log = log;
  }

  /** Grows with every change: a caller that awaited something compares it, and asks again if it has grown. */
  get version(): number {
    return this.#version;
  }

  invalidate(scope: PolicyScope): void {
    this.#version += 1;
    this.#documents.delete(scope);
  }

  async rightsOf(subject: Subject): Promise<Rights> {
    const { document } = await this.resolve(subject);
    return new Rights(document, subject, this.#limits);
  }

  /** The same by the policies of the time at which it resolves. */
  async currentRightsOf(subject: Subject): Promise<Rights> {
    for (;;) {
      const version = this.#version;
      const rights = await this.rightsOf(subject);
      if (version === this.#version) return rights;
    }
  }

  async resolve(subject: Subject): Promise<AppliedPolicy> {
    for (const scope of scopesOf(subject)) {
      const document = this.#documents.has(scope) ? this.#documents.get(scope) : await this.#read(scope);
      if (document !== undefined) return { document, source: scope };
    }
    return { document: builtInFor(subject), source: 'built-in' };
  }

  /** Whether a policy of this scope decides for the subject, or would if one were set. */
  async wouldDecide(scope: PolicyScope, subject: Subject): Promise<boolean> {
    for (const each of scopesOf(subject)) {
      if (each === scope) return true;
      const document = this.#documents.has(each) ? this.#documents.get(each) : await this.#read(each);
      if (document !== undefined) return false;
    }
    return false;
  }

  async #read(scope: PolicyScope): Promise<PolicyDocument | undefined> {
    const version = this.#version;
    let document = await this.#directory.findPolicy(scope);
    if (document !== undefined) {
      try {
        checkPolicy(document, this.#limits);
      } catch (error) {
        // An invalid policy must not allow anything (CVE-2018-12550).
        this.#log.error({ scope, err: error }, 'stored policy is not valid; it allows nothing');
        document = DENY_ALL;
      }
    }
    if (version === this.#version) this.#documents.set(scope, document);
    return document;
  }
}

/** The scopes that can decide for a subject, the most specific first. */
export function scopesOf({ identity, group, isQuarantined = false }: Subject): readonly PolicyScope[] {
  return isQuarantined ? [QUARANTINE_SCOPE] : policyScopes(identity, group);
}

function builtInFor({ identity, isQuarantined = false }: Subject): PolicyDocument {
  if (isQuarantined) return QUARANTINE_POLICY;
  return identity.kind === 'device' ? DEFAULT_DEVICE_POLICY : DEFAULT_SERVICE_POLICY;
}
