/** Connects to the servers that images name, from the machine that runs the command, and adds what fails to their faults. */

import { checkServers } from '@rollcall/device-sdk/building-blocks';
import { parseEnrollUrl } from '@rollcall/protocol';
import { TOKEN } from './image-files.ts';
import type { VerifiedImage } from './verify-image.ts';

/** Kits of one fleet have the same servers, which are asked once. */
export async function connectFromHere(images: readonly VerifiedImage[]): Promise<readonly VerifiedImage[]> {
  const faultsByServer = new Map<string, Promise<readonly string[]>>();
  const checked: VerifiedImage[] = [];
  for (const image of images) {
    const { rootSha256 } = image.manifest;
    const enrollUrl = parseEnrollUrl(image.manifest.enrollUrl);
    if (enrollUrl === undefined) {
      checked.push(image); // Its faults name the token already.
      continue;
    }
    const key = `${enrollUrl} ${rootSha256}`;
    const faults = faultsByServer.get(key) ?? faultsOf(enrollUrl, rootSha256);
    faultsByServer.set(key, faults);
    checked.push({ ...image, faults: [...image.faults, ...(await faults)] });
  }
  return checked;
}

async function faultsOf(enrollUrl: string, rootSha256: string): Promise<readonly string[]> {
  const checks = await checkServers({ enrollUrl, rootSha256 });
  return checks.flatMap(({ server, address, fault }) =>
    fault === undefined ? [] : [`${TOKEN}: its ${server} server ${address}: ${fault}`],
  );
}
