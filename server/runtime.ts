/** The JavaScript runtime of this process. Bun also sets `process.versions.node`, to the version that it is compatible with. */

export type RuntimeName = 'node' | 'bun';

export interface Runtime {
  readonly name: RuntimeName;
  readonly version: string;
}

const { bun, node } = process.versions;

export const runtime: Runtime = bun === undefined ? { name: 'node', version: node } : { name: 'bun', version: bun };

/** `node 26.10.0` */
export const runtimeText = `${runtime.name} ${runtime.version}`;
