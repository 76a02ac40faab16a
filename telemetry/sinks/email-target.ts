/**
 * A target that is a mail server (SMTP, RFC 5321): the events of a batch become one message of plain text (RFC 3834: generated
 * automatically), or those of an interval.
 */

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { escapeJson } from '@rollcall/output';
import { addressOptions } from '@rollcall/protocol';
import { createTransport } from 'nodemailer';
import { EventDigest } from './event-digest.ts';
import type { RefusedMessage, Secret, SinkMessage, Target, TargetNotice } from './target.ts';
import { TargetDown } from './target.ts';
import { type TargetTls, targetError } from './tls.ts';

export interface EmailTargetOptions {
  readonly host: string;
  readonly port: number;
  /** `implicit`: TLS from the first byte. `starttls`: required before anything else is sent; it goes unused where `tls` is `none`. */
  readonly mode: 'implicit' | 'starttls';
  readonly tls: TargetTls;
  readonly user?: string | undefined;
  readonly password?: Secret | undefined;
  readonly from: string;
  readonly to: readonly string[];
  /** For a whole delivery, in ms. */
  readonly timeout: number;
  /** Name of the sink. */
  readonly name: string;
  readonly trustDomain: string;
  readonly now: () => number;
}

/** Characters of an event that are written. */
const DATA_CHARACTERS = 2_000;

export class EmailTarget implements Target {
  readonly #options: EmailTargetOptions;
  #notice: TargetNotice | undefined;

  constructor(options: EmailTargetOptions) {
    this.#options = options;
  }

  async deliver(
    messages: readonly SinkMessage[],
    signal: AbortSignal,
    digest: EventDigest = digestOf(messages),
  ): Promise<readonly RefusedMessage[]> {
    const refusal = await this.#send(digest, signal);
    return refusal === undefined ? [] : messages.map((message) => ({ message, reason: refusal }));
  }

  takeNotice(): TargetNotice | undefined {
    const notice = this.#notice;
    this.#notice = undefined;
    return notice;
  }

  async close(): Promise<void> {}

  /** Undefined when the server took the message; the reason when it refuses its content for good. */
  async #send(digest: EventDigest, signal: AbortSignal): Promise<string | undefined> {
    const { host, port, from, to, timeout, now, name, trustDomain } = this.#options;
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
    const socket = connect({ host, port, ...addressOptions(host) });
    const end = () => socket.destroy();
    deadline.addEventListener('abort', end);
    socket.on('error', () => {}); // the mail client reports it, but has no listener at each moment
    try {
      await once(socket, 'connect', { signal: deadline });
      const { rejected } = await this.#transport(socket).sendMail({
        from,
        to: [...to],
        subject: subjectOf(digest),
        text: textOf(digest, { name, trustDomain }),
        date: new Date(now()),
        messageId: `<${name}-${digest.messages[0]?.position}-${digest.messages.at(-1)?.position}@${trustDomain}>`,
        headers: { 'Auto-Submitted': 'auto-generated' },
      });
      if (rejected.length > 0) {
        const text = `${rejected.length} of ${to.length} recipients were refused by the mail server`;
        this.#notice = { isLoss: false, text };
      }
      return undefined;
    } catch (error) {
      const { code, responseCode = 0, message, originalCode } = error as MailError;
      if (code === 'EMESSAGE' && responseCode >= 500) return message.slice(0, DATA_CHARACTERS);
      if (deadline.aborted && !signal.aborted) throw new TargetDown(`expected the mail to be taken in ${timeout} ms`);
      throw targetError(originalCode === undefined ? error : Object.assign(error as MailError, { code: originalCode }));
    } finally {
      deadline.removeEventListener('abort', end);
      socket.destroy();
    }
  }

  /** Of one message; reads the TLS files and the password anew. */
  #transport(connection: Socket) {
    const { host, port, mode, tls, user, password, timeout } = this.#options;
    const material = tls === 'none' ? undefined : tls();
    return createTransport({
      host,
      port,
      connection,
      secure: mode === 'implicit',
      ...(material === undefined
        ? { ignoreTLS: true }
        : { requireTLS: true, tls: { ...material, rejectUnauthorized: true, minVersion: 'TLSv1.2' } }),
      ...(user !== undefined && { auth: { user, pass: password?.() ?? '' } }),
      connectionTimeout: timeout,
      greetingTimeout: timeout,
      socketTimeout: timeout,
      disableFileAccess: true,
      disableUrlAccess: true,
    });
  }
}

function digestOf(messages: readonly SinkMessage[]): EventDigest {
  const digest = new EventDigest(Number.NEGATIVE_INFINITY);
  digest.add(messages);
  return digest;
}

/** As nodemailer describes a failure; `originalCode` is that of the socket. */
interface MailError extends Error {
  code?: string;
  readonly originalCode?: string;
  readonly responseCode?: number;
}

/** Types are the server's own words, so that no text of a device is in a header. */
function subjectOf({ counts }: EventDigest): string {
  const types = [...counts].sort(([, one], [, other]) => other - one).map(([type, count]) => `${type} (${count})`);
  const more = types.length > 3 ? ' and others' : '';
  return `[rollcall] ${types.slice(0, 3).join(', ')}${more}`;
}

function textOf(
  { messages, total }: EventDigest,
  { name, trustDomain }: { readonly name: string; readonly trustDomain: string },
): string {
  const lines = messages.map(({ receivedAt, stream, device, payload }) => {
    const head = `${new Date(receivedAt).toISOString()} ${stream} ${device}`;
    return escapeJson(`${head}\n    ${dataOf(payload).slice(0, DATA_CHARACTERS)}`);
  });
  const more = total - lines.length;
  return [
    ...lines,
    ...(more > 0 ? [`and ${more} more`] : []),
    '',
    'Run "rollcall events list" for these and other events, "rollcall doctor --device ID" for one device.',
    `Sink ${name} of ${trustDomain}`,
    '',
  ].join('\n');
}

/** The member `data` of an event as JSON. */
function dataOf(payload: Uint8Array): string {
  try {
    return JSON.stringify((JSON.parse(Buffer.from(payload).toString()) as { readonly data?: unknown }).data ?? {});
  } catch {
    return '{}';
  }
}
