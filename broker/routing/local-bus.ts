/** The bus of a process that is its own only node. */

import type { TerminationReport } from '../../registry/index.ts';
import type { ShareChoice, ShareMember } from '../keeper/shared-subscriptions.ts';
import type { Message } from '../mqtt/message.ts';
import type { LiveSessions } from '../sessions/live-sessions.ts';
import type { Bus, SessionChange } from './bus.ts';
import type { MessageRouter } from './message-router.ts';

export interface LocalBusOptions {
  readonly router: MessageRouter;
  readonly sessions: LiveSessions;
}

export class LocalBus implements Bus {
  /** Applies a change to the sessions of this node. */
  onChange: (change: SessionChange) => Promise<TerminationReport> = () => Promise.reject(new Error('not open'));
  readonly #options: LocalBusOptions;

  constructor(options: LocalBusOptions) {
    this.#options = options;
  }

  tell(message: Message, shares: readonly ShareChoice[] | undefined, done?: () => void): void {
    this.#options.router.deliver(message, shares, done);
  }

  async confirm(change: SessionChange): Promise<readonly TerminationReport[]> {
    return [await this.onChange(change)];
  }

  tellMember(message: Message, share: string, member: ShareMember): void {
    this.#options.sessions.find(member.clientId)?.receiveShared(message, share, member);
  }
}
