/** The Kubernetes manifests: valid for the API of Kubernetes, and consistent with the server and its image. No cluster runs here. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StatefulSet } from 'kubernetes-models/apps/v1/StatefulSet';
import { NetworkPolicy } from 'kubernetes-models/networking.k8s.io/v1/NetworkPolicy';
import { ConfigMap } from 'kubernetes-models/v1/ConfigMap';
import { Service } from 'kubernetes-models/v1/Service';
import { ServiceAccount } from 'kubernetes-models/v1/ServiceAccount';
import { expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { loadConfig } from '../../server/config/load.ts';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string };
}

const KINDS = { ConfigMap, NetworkPolicy, Service, ServiceAccount, StatefulSet };
const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');
const manifests = parseAllDocuments(read('rollcall.yaml')).map((document) => document.toJS() as Manifest);

function validate(manifest: Manifest): void {
  const Kind = KINDS[manifest.kind as keyof typeof KINDS];
  const model = new Kind(manifest as never);
  expect(model.apiVersion).toBe(manifest.apiVersion);
  model.validate();
}

// biome-ignore lint/suspicious/noExplicitAny: the shape is what validate() has checked.
const one = (kind: string, name = 'rollcall'): any =>
  manifests.find((manifest) => manifest.kind === kind && manifest.metadata.name === name);

const settingsOf = (text: string) => {
  const file = join(temporaryDirectory(), 'rollcall.yaml');
  writeFileSync(file, text);
  return loadConfig({ file, environment: {}, flags: [] });
};
const pod = one('StatefulSet').spec.template.spec;
const [container] = pod.containers;

it.each(manifests.map((manifest) => [`${manifest.kind} ${manifest.metadata.name}`, manifest] as const))(
  '%s is valid for Kubernetes',
  (_, manifest) => validate(manifest),
);

it('a manifest with a wrong type would be refused', () => {
  const wrong = structuredClone(one('StatefulSet'));
  wrong.spec.template.spec.terminationGracePeriodSeconds = '45s';
  expect(() => validate(wrong)).toThrow('terminationGracePeriodSeconds');
});

it('the grace period allows the drain and the rest of a stop', () => {
  const { drain } = settingsOf(one('ConfigMap').data['rollcall.yaml']);
  expect(pod.terminationGracePeriodSeconds * 1_000).toBeGreaterThanOrEqual(drain.within + 30_000);
});

it('probes, ports and the volume are those of the settings', () => {
  const { data, enroll, mqtt, health } = settingsOf(one('ConfigMap').data['rollcall.yaml']);
  const ports = Object.fromEntries(
    container.ports.map(({ name, containerPort }: { name: string; containerPort: number }) => [name, containerPort]),
  );
  expect(health.listen).toBe(true);
  expect(ports).toEqual({ est: enroll.port, mqtt: mqtt.port, health: health.port });
  const probes = ['startupProbe', 'livenessProbe', 'readinessProbe'].map((name) => container[name].httpGet);
  expect(probes).toEqual(['/livez', '/livez', '/readyz'].map((path) => ({ path, port: 'health' })));
  expect(data).toMatch(/^\/data\/./);
  expect(container.volumeMounts).toContainEqual({ name: 'data', mountPath: '/data' });
});

it('the pod meets the restricted security standard, with a read-only root', () => {
  expect(pod.securityContext).toMatchObject({ runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
  expect(container.securityContext).toEqual({
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  });
  expect(pod.automountServiceAccountToken).toBe(false);
});

it('devices reach EST and MQTT from outside, and nothing else is open', () => {
  const ports = one('Service').spec.ports.map(({ name }: { name: string }) => name);
  expect(ports).toEqual(['est', 'mqtt']);
  const [{ ports: admitted }] = one('NetworkPolicy').spec.ingress;
  expect(admitted.map(({ port }: { port: string }) => port)).toEqual(['est', 'mqtt']);
});

it('the image runs as the user of the pod, and its settings are like those of the pod', () => {
  const dockerfile = read('../container/Dockerfile');
  const { runAsUser, runAsGroup } = pod.securityContext;
  expect(dockerfile).toMatch(new RegExp(`^USER ${runAsUser}:${runAsGroup}$`, 'm'));
  expect(dockerfile).toContain(`--gid ${runAsGroup} `);
  expect(dockerfile).toContain(`--uid ${runAsUser} `);
  expect(dockerfile).toContain(`CMD ${JSON.stringify(container.args).replaceAll(',', ', ')}`);
  const inPod = settingsOf(one('ConfigMap').data['rollcall.yaml']);
  const inImage = settingsOf(read('../container/rollcall.yaml'));
  expect({ ...inImage, publicHosts: inPod.publicHosts, trustDomain: inPod.trustDomain }).toEqual(inPod);
});
