/**
 * The directory that `rollcall service issue` writes: `key.pem` (0600), `cert.pem` (chain, leaf first), `ca.pem`, and
 * `service.json` with the name of the service and the addresses of its servers. A renewal replaces key and certificate
 * through a staged copy: a crash leaves the old pair, or a copy that the next load moves into place. One process at a time
 * may renew in a directory.
 */

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import {
  asDeviceError,
  DeviceError,
  fileCredentialStore,
  holderOf,
  type IdentityStore,
  isIssuedBy,
  parseCertificates,
  writeDurably,
} from '@rollcall/device-sdk/building-blocks';
import { defaultMqttUrl, parseEnrollUrl, parseServiceName } from '@rollcall/protocol';
import type { ServiceIdentity } from './service-identity.ts';

export const SERVICE_FILE = 'service.json';

export interface ServiceAddresses {
  /** Origin of the enroll server, `https://host:port`, in place of the stored one. */
  readonly enrollUrl?: string | undefined;
}

export interface ServiceDirectory {
  readonly store: IdentityStore<ServiceIdentity>;
  /** As it is on disk, with the addresses of the caller. */
  readonly identity: ServiceIdentity;
}

/** The text of `service.json`. */
export function serviceFileText(identity: Pick<ServiceIdentity, 'name' | 'enrollUrl' | 'mqttUrl'>): string {
  const { name, enrollUrl, mqttUrl } = identity;
  return `${JSON.stringify({ service: name, enrollUrl, mqttUrl }, null, 2)}\n`;
}

/**
 * Reads the directory. One from before there was a `service.json` gets that file, if the caller names the enroll server.
 * Rejects with a DeviceError: `identity_unusable`, `private_key_exposed`, or `request_invalid` for an address.
 */
export async function openServiceDirectory(
  directory: string,
  addresses: ServiceAddresses = {},
): Promise<ServiceDirectory> {
  const enrollUrl = checkedEnrollUrl(addresses.enrollUrl);
  if (!existsSync(join(directory, 'cert.pem')) && !existsSync(join(directory, 'staged'))) {
    throw unusable(`expected a directory that "rollcall service issue" wrote, found no cert.pem in ${directory}`);
  }
  requireOwner(directory);
  if (!existsSync(join(directory, SERVICE_FILE))) await addServiceFile(directory, enrollUrl);
  const store = serviceStore(directory);
  const stored = await store.load();
  if (stored === undefined) throw unusable(`expected a certificate in ${directory}`);
  const identity = { ...stored, rootPem: rootsOf(stored.rootPem), ...(enrollUrl !== undefined && { enrollUrl }) };
  if (identity.rootPem === '') throw unusable(`expected a root certificate in ${join(directory, 'ca.pem')}`);
  requirePair(identity);
  return { store, identity };
}

function serviceStore(directory: string): IdentityStore<ServiceIdentity> {
  return fileCredentialStore<ServiceIdentity>(directory, {
    file: SERVICE_FILE,
    membersOf: ({ name, enrollUrl, mqttUrl }) => ({ service: name, enrollUrl, mqttUrl }),
    parse: (members, addresses) => {
      const name = parseServiceName(String(members.service));
      return name === undefined ? undefined : { name, ...addresses };
    },
  });
}

async function addServiceFile(directory: string, enrollUrl: string | undefined): Promise<void> {
  if (enrollUrl === undefined) {
    throw unusable(
      `${directory} has no ${SERVICE_FILE}, as an earlier version wrote it: name the enroll server once, with --enroll-url`,
    );
  }
  const name = serviceNameOf(readFileSync(join(directory, 'cert.pem'), 'utf8'));
  const text = serviceFileText({ name, enrollUrl, mqttUrl: defaultMqttUrl(enrollUrl) });
  await writeDurably(join(directory, SERVICE_FILE), text, 0o644).catch((error: unknown) => {
    throw asDeviceError(error, 'identity_unusable');
  });
}

/** `service issue` writes the whole trust bundle. */
function rootsOf(caPem: string): string {
  const roots = parseCertificates(caPem).filter((certificate) => isIssuedBy(certificate, certificate));
  return roots.map((root) => root.toString()).join('');
}

function requirePair({ name, keyPem, certificatePem }: ServiceIdentity): void {
  const found = serviceNameOf(certificatePem);
  if (found !== name) throw unusable(`expected the certificate of ${name}, found one of ${found}`);
  if (!isPair(keyPem, certificatePem)) throw unusable('the certificate belongs to another key');
}

function isPair(keyPem: string, certificatePem: string): boolean {
  try {
    return new X509Certificate(certificatePem).checkPrivateKey(createPrivateKey(keyPem));
  } catch {
    throw unusable('expected a key and certificates in PEM'); // OpenSSL's own words could say something of the key
  }
}

function serviceNameOf(certificatePem: string): ServiceIdentity['name'] {
  let leaf: X509Certificate;
  try {
    leaf = new X509Certificate(certificatePem);
  } catch {
    throw unusable('expected certificates in PEM in cert.pem');
  }
  const holder = holderOf(leaf);
  if (holder.kind !== 'service') throw unusable(`expected the certificate of a service, found one of a device`);
  return holder.name;
}

/** Files that another user writes could become unreadable for the application. */
function requireOwner(directory: string): void {
  const user = process.getuid?.();
  const { uid } = statSync(directory);
  if (user !== undefined && uid !== user)
    throw unusable(
      `${directory} belongs to the user with id ${uid}, and this process runs as ${user}: run it as the owner`,
    );
}

function checkedEnrollUrl(given: string | undefined): string | undefined {
  if (given === undefined) return undefined;
  const url = parseEnrollUrl(given);
  if (url !== undefined) return url;
  throw new DeviceError('request_invalid', { reason: 'expected an enroll URL of the form https://host:port' });
}

function unusable(reason: string): DeviceError {
  return new DeviceError('identity_unusable', { reason });
}
