/** The Node that a package carries: the one of the lock file for its platform, which npm has installed here or fetches. */

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export type Platform = 'linux-x64' | 'linux-arm64';

/** Writes the executable and its licence. Throws when the fetched package is not the one of the lock file. */
export function writeNode(
  repository: string,
  platform: Platform,
  place: { readonly executable: string; readonly license: string },
): void {
  const installed = join(repository, 'node_modules', `node-${platform}`);
  if (existsSync(join(installed, 'bin/node'))) {
    copy(installed, place);
    return;
  }
  const work = mkdtempSync(join(tmpdir(), 'rollcall-node-'));
  try {
    copy(fetchPackage(repository, `node-${platform}`, work), place);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function copy(folder: string, place: { readonly executable: string; readonly license: string }): void {
  copyFileSync(join(folder, 'bin/node'), place.executable);
  chmodSync(place.executable, 0o755);
  copyFileSync(join(folder, 'LICENSE'), place.license);
}

function fetchPackage(repository: string, name: string, work: string): string {
  const { packages } = JSON.parse(readFileSync(join(repository, 'package-lock.json'), 'utf8'));
  const { version, integrity } = packages[`node_modules/${name}`] as {
    readonly version: string;
    readonly integrity: string;
  };
  const file = execFileSync('npm', ['pack', '--silent', `${name}@${version}`], { cwd: work, encoding: 'utf8' }).trim();
  const found = `sha512-${createHash('sha512')
    .update(readFileSync(join(work, file)))
    .digest('base64')}`;
  if (found !== integrity) throw new Error(`${name}@${version}: expected ${integrity}, found ${found}`);
  execFileSync('tar', ['-xzf', file, 'package/bin/node', 'package/LICENSE'], { cwd: work });
  return join(work, 'package');
}
