/**
 * Who can hold a Rollcall certificate: devices and services, and the text forms of their names.
 * Does not know certificates; it only builds and parses the URI that sits in their subject alternative name.
 */

declare const checked: unique symbol;

/**
 * A device's name: `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`, which is one SPIFFE path segment, one MQTT topic level without
 * wildcards, and one file name. It is the device's MQTT client id as well.
 */
export type DeviceId = string & { readonly [checked]: 'DeviceId' };

/** A back-end application's name; same alphabet as {@link DeviceId}. Its client ids are `name` and `name-*`. */
export type ServiceName = string & { readonly [checked]: 'ServiceName' };

/** A named subset of the fleet; same alphabet as {@link DeviceId}. A device without one belongs to `default`. */
export type GroupName = string & { readonly [checked]: 'GroupName' };

export type Identity =
  | { readonly kind: 'device'; readonly id: DeviceId }
  | { readonly kind: 'service'; readonly name: ServiceName };

export const NAME_RULE = 'one to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit';

export const DEFAULT_GROUP = 'default' as GroupName;

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** The SPIFFE trust domain alphabet (SPIFFE ID, section 2.1), with a length that leaves room in a URI of 2048 bytes. */
const TRUST_DOMAIN = /^[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?$/;

const IDENTITY_URI = /^spiffe:\/\/([^/]+)\/(device|service)\/([^/]+)$/;

/** Returns the checked id, or undefined when the text is not one. */
export function parseDeviceId(text: string): DeviceId | undefined {
  return NAME.test(text) ? (text as DeviceId) : undefined;
}

/** Returns the checked name, or undefined when the text is not one. */
export function parseServiceName(text: string): ServiceName | undefined {
  return NAME.test(text) ? (text as ServiceName) : undefined;
}

/** Returns the checked group name, or undefined when the text is not one. */
export function parseGroupName(text: string): GroupName | undefined {
  return NAME.test(text) ? (text as GroupName) : undefined;
}

export function isTrustDomain(text: string): boolean {
  return TRUST_DOMAIN.test(text);
}

/** The bare name: `dev-7` for a device, `dashboard` for a service. */
export function identityName(identity: Identity): string {
  return identity.kind === 'device' ? identity.id : identity.name;
}

/** How an identity is written in logs, audit entries and commands: `device/dev-7`, `service/dashboard`. */
export function formatIdentity(identity: Identity): string {
  return `${identity.kind}/${identityName(identity)}`;
}

/** Reads `device/dev-7`, `service/dashboard`, or a bare device id. Undefined when it is none of them. */
export function parseIdentity(text: string): Identity | undefined {
  const slash = text.indexOf('/');
  return slash < 0 ? identityOf('device', text) : identityOf(text.slice(0, slash), text.slice(slash + 1));
}

/** The URI in the certificate: `spiffe://<trust domain>/device/<id>` or `.../service/<name>` (SPIFFE X.509-SVID, section 2). */
export function identityUri(trustDomain: string, identity: Identity): string {
  return `spiffe://${trustDomain}/${formatIdentity(identity)}`;
}

/** The inverse of {@link identityUri}; undefined for another trust domain, another kind, or a name outside the alphabet. */
export function parseIdentityUri(trustDomain: string, uri: string): Identity | undefined {
  const parts = IDENTITY_URI.exec(uri);
  if (parts === null || parts[1] !== trustDomain) return undefined;
  return identityOf(parts[2] as string, parts[3] as string);
}

function identityOf(kind: string, name: string): Identity | undefined {
  if (!NAME.test(name)) return undefined;
  if (kind === 'device') return { kind, id: name as DeviceId };
  if (kind === 'service') return { kind, name: name as ServiceName };
  return undefined;
}
