/** How a node delivers a message: to its own sessions by itself, and to everybody else by the keeper. */

import type { Message } from '../mqtt/message.ts';
import type { Bus } from '../routing/bus.ts';
import type { MessageRouter } from '../routing/message-router.ts';
import type { Routes } from '../routing/routes.ts';
import type { ChannelToKeeper } from './node-calls.ts';
import type { RemoteSessions } from './remote-sessions.ts';

export interface NodeBusOptions {
  readonly channel: ChannelToKeeper;
  readonly router: MessageRouter;
  readonly routes: Routes;
  readonly sessions: Pick<RemoteSessions, 'takeEnqueued'>;
}

export class NodeBus implements Pick<Bus, 'tell'> {
  readonly #options: NodeBusOptions;

  constructor(options: NodeBusOptions) {
    this.#options = options;
  }

  tell(message: Message, _shares: undefined | readonly unknown[], done: () => void = ignore): void {
    const { channel, router, routes, sessions } = this.#options;
    const isEnqueued = sessions.takeEnqueued(message.number);
    if (!isEnqueued && !routes.hasReceiver(message.topic)) {
      router.deliver(message, undefined, done);
      return;
    }
    const elsewhere = channel.call('deliver', isEnqueued ? { enqueued: message.number } : { message });
    // The keeper may be gone: then this node ends as well.
    router.deliver(message, undefined, () => void elsewhere.then(done, done));
  }
}

function ignore(): void {}
