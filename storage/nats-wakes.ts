/**
 * Wakes over NATS core, for databases without LISTEN. A message says that a channel has news, by its subject alone: its content is not
 * read, and nothing else travels over NATS.
 */

import { connectToNats, type NatsCredentials, type NatsTls } from './nats-connection.ts';
import { RemoteWakes, type RemoteWakesOptions, type WakeCarrier, type WakeConnection } from './remote-wakes.ts';

export interface NatsWakesSettings extends NatsCredentials {
  /** `host:port` each: servers of one cluster. One of them is used, and the next one after a loss. */
  readonly servers: readonly string[];
  /** Of the files, at each connection; undefined is plaintext, only to this machine. */
  readonly tls: (() => NatsTls) | undefined;
  /** The first part of all subjects, by which fleets differ. Without wildcards. */
  readonly subject: string;
}

export interface NatsWakesOptions extends RemoteWakesOptions, NatsWakesSettings {}

const CONNECT_WITHIN_MS = 5_000;
/** A server that does not answer is given up after two of these. */
const PING_EVERY_MS = 2_000;
const PINGS_UNANSWERED = 2;
/** The database is there, so that its tables can be read instead. */
const WHILE_LOST_MS = 100;

export class NatsWakes extends RemoteWakes {
  constructor({ servers, tls, subject, ...options }: NatsWakesOptions) {
    const { user, password, token, credentials, nkey, ...wakes } = options;
    super(carrierOver({ servers, tls, subject, user, password, token, credentials, nkey }), {
      whileLost: WHILE_LOST_MS,
      ...wakes,
    });
  }
}

function carrierOver({ servers, tls, subject, ...credentials }: NatsWakesSettings): WakeCarrier {
  let next = 0;
  return async (receive): Promise<WakeConnection> => {
    const server = servers[next % servers.length] as string;
    next += 1;
    const connection = await connectToNats(
      { server, tls: tls?.(), timeout: CONNECT_WITHIN_MS, ...credentials },
      // Listeners of this node were woken by `wake` itself.
      { noEcho: true, pingInterval: PING_EVERY_MS, maxPingOut: PINGS_UNANSWERED },
    );
    const failed = Promise.withResolvers<unknown>();
    const fail = (error: unknown) => {
      failed.resolve(error);
      void connection.close();
    };
    connection.subscribe(`${subject}.*`, {
      callback: (error, message) => {
        if (error === null) receive(channelOf(message.subject.slice(subject.length + 1)));
        else fail(error); // the account may not read this subject
      },
    });
    void reportErrors(connection.status(), fail);
    // The server knows of the subscription when it has answered.
    await connection.flush();
    return {
      send: async (channels) => {
        for (const channel of channels) connection.publish(`${subject}.${tokenOf(channel)}`);
      },
      lost: Promise.race([failed.promise, connection.closed().then((error) => error ?? new Error('NATS closed'))]),
      close: () => connection.close(),
    };
  };
}

/** An account that may not send is told so later than the send. */
async function reportErrors(
  status: AsyncIterable<{ readonly type: string; readonly error?: Error }>,
  failed: (error: unknown) => void,
): Promise<void> {
  for await (const { type, error } of status) if (type === 'error') failed(error);
}

/** A dot separates the tokens of a subject; a channel may hold some, but never a percent sign. */
function tokenOf(channel: string): string {
  return channel.replaceAll('.', '%2E');
}

function channelOf(token: string): string {
  return token.replaceAll('%2E', '.');
}
