import type { DeviceId } from '@rollcall/protocol';

/** Key, certificate, trusted roots and addresses: what renewal needs. */
export interface Credentials {
  /** Origin of the enroll server, `https://host:port`. */
  readonly enrollUrl: string;
  /** `mqtts://host:port`. */
  readonly mqttUrl: string;
  /** PKCS#8 PEM, or the name that a key provider has for the key. */
  readonly keyPem: string;
  /** PEM, leaf first, without the root. */
  readonly certificatePem: string;
  /** PEM of the fleet's roots: the only ones this device trusts. */
  readonly rootPem: string;
  /**
   * PEM of the newest revocation list of each, which a device applies to servers and never exchanges for an older one.
   * Absent while none came. A store that doesn't keep it loses that, and nothing else.
   */
  readonly rootCrlPem?: string;
}

/** An enrolled device. */
export interface StoredIdentity extends Credentials {
  readonly deviceId: DeviceId;
}

/** A request that was sent, or may have been: asked again with the same key, the server gives the same answer. */
export interface PendingRequest {
  /** PKCS#8 PEM, or the name that a key provider has for the key. */
  readonly keyPem: string;
  /** PKCS#10 DER. */
  readonly csr: Buffer;
  /** The common name in the request; empty when the server was left to choose. */
  readonly commonName: string;
}

export interface IdentityStore<Identity extends Credentials = StoredIdentity> extends PendingRequestStore {
  load(): Promise<Identity | undefined>;
  /** Keeps a copy of an identity of another fleet, never over an earlier one. A store without it keeps none. */
  keepAside?(former: Identity): Promise<void>;
  /** Replaces identity and pending request in one step: after a crash either the old or the new is found whole. */
  commit(identity: Identity): Promise<void>;
}

export interface PendingRequestStore {
  loadPending(): Promise<PendingRequest | undefined>;
  /** Durable when it resolves: it happens before the request leaves the device. */
  savePending(pending: PendingRequest): Promise<void>;
  dropPending(): Promise<void>;
}

/** Forgets everything with the process. */
export function memoryIdentityStore(): IdentityStore {
  let identity: StoredIdentity | undefined;
  let pending: PendingRequest | undefined;
  return {
    load: async () => identity,
    loadPending: async () => pending,
    savePending: async (request) => {
      pending = request;
    },
    dropPending: async () => {
      pending = undefined;
    },
    commit: async (next) => {
      identity = next;
      pending = undefined;
    },
  };
}
