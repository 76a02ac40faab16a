/** Whether devices on other machines can reach the servers by the names that tokens contain, and what to say when they cannot. Prints nothing. */

import { isLoopbackHost, parseBootstrapToken, urlHost } from '@rollcall/protocol';
import type { Config } from '../server/config/index.ts';

/** In messages, where to go from here. */
const HOW = '--host ADDRESS --public-host NAME';

export interface PublicNames {
  /** Both servers accept connections of this machine alone. */
  readonly isLocal: boolean;
  /** Tokens and images contain this name, which means the machine that uses it. */
  readonly loopbackName: string | undefined;
}

export function publicNames({ enroll, mqtt, publicHosts }: Config): PublicNames {
  const [first = ''] = publicHosts;
  return {
    isLocal: isLoopbackHost(enroll.host) && isLoopbackHost(mqtt.host),
    loopbackName: isLoopbackHost(first) ? first : undefined,
  };
}

/** For the person at the terminal; undefined when there is nothing to do. */
export function publicNameAdvice({ isLocal, loopbackName }: PublicNames): string | undefined {
  if (loopbackName === undefined) return undefined;
  if (isLocal) return `only this machine can connect; for devices on other machines start it with ${HOW}`;
  return `WARNING: devices would call ${loopbackName}, which is the device itself; name this machine with --public-host NAME`;
}

/** What is wrong with a token for other machines; undefined when it names a host that they can call. */
export function tokenAdvice(tokenText: string): string | undefined {
  return loopbackAdvice('the token', parseBootstrapToken(tokenText)?.enrollUrl);
}

/** The same of `what`, in which devices or services find the URL of the EST server. */
export function loopbackAdvice(what: string, enrollUrl: string | undefined): string | undefined {
  if (enrollUrl === undefined || !isLoopbackHost(urlHost(enrollUrl))) return undefined;
  return `${what} names ${enrollUrl}: only this machine can use it; for others start the server with ${HOW}`;
}
