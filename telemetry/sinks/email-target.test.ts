import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished } from 'vitest';
import { HOSTILE_TEXT } from '../../test/behaviour/telemetry-properties.ts';
import { makeDatedAuthority } from '../../test/fixtures/dated-authority.ts';
import { startMailServer } from '../../test/fixtures/mail-server.ts';
import { positionOf } from '../position.ts';
import { EmailTarget, type EmailTargetOptions } from './email-target.ts';
import { type SinkMessage, TargetDown, TargetUntrusted } from './target.ts';

const NOW = Date.UTC(2030, 0, 2);
const [LONG_AGO, FAR_OFF] = [Date.UTC(2020, 0), Date.UTC(2090, 0)] as const;
const signal = new AbortController().signal;

function eventOf(position: number, data: object = {}, receivedAt = NOW - 1_000): SinkMessage {
  const payload = Buffer.from(JSON.stringify({ specversion: '1.0', data }));
  return {
    position: positionOf(position),
    device: 'dev-1',
    stream: 'security.clone_suspected',
    receivedAt,
    qos: 1,
    payload,
  };
}

function targetOf(port: number, options: Partial<EmailTargetOptions> = {}): EmailTarget {
  return new EmailTarget({
    host: '127.0.0.1',
    port,
    mode: 'starttls',
    tls: 'none',
    from: 'rollcall@example.com',
    to: ['ops@example.com'],
    timeout: 5_000,
    name: 'alerts',
    trustDomain: 'rollcall.internal',
    now: () => NOW,
    ...options,
  });
}

describe('an e-mail target', () => {
  it('sends one message about all events of a batch', async () => {
    const server = await startMailServer();
    const refused = await targetOf(server.port).deliver([eventOf(3, { ip: '192.0.2.1' }), eventOf(4)], signal);
    expect(refused).toEqual([]);
    const [mail, ...more] = server.mails;
    expect(more).toEqual([]);
    expect(mail?.to).toEqual(['ops@example.com']);
    expect(mail?.text).toContain('Subject: [rollcall] security.clone_suspected (2)');
    expect(mail?.text).toContain('Auto-Submitted: auto-generated');
    expect(mail?.text).toContain('Message-ID: <alerts-3-4@rollcall.internal>');
    expect(mail?.text).toContain('2030-01-01T23:59:59.000Z security.clone_suspected dev-1\r\n    {"ip":"192.0.2.1"}');
  });

  it('escapes what a device or a stranger wrote, and has none of it in a header', async () => {
    const server = await startMailServer();
    await targetOf(server.port).deliver([eventOf(1, { certSubject: `${HOSTILE_TEXT}\r\nBcc: x@example.com` })], signal);
    const [head = '', ...body] = server.mails[0]?.text.split('\r\n\r\n') ?? [];
    expect(head).not.toMatch(/Bcc|x@example|cmd\(\)/);
    expect(body.join('')).toContain('\\u202e=cmd()');
    for (const control of ['\u001b', '\u202e', '\u2028']) expect(body.join('')).not.toContain(control);
  });

  it('counts events beyond those that it describes', async () => {
    const server = await startMailServer();
    await targetOf(server.port).deliver(
      Array.from({ length: 250 }, (_, index) => eventOf(index)),
      signal,
    );
    expect(server.mails[0]?.text).toContain('and 50 more');
    expect(server.mails[0]?.text.match(/ dev-1\r\n/g)).toHaveLength(200);
  });

  it('is down while the server cannot be reached or asks to try again', async () => {
    const onMailFrom = (_: unknown, __: unknown, done: (error?: Error) => void) =>
      done(Object.assign(new Error('busy'), { responseCode: 451 }));
    const server = await startMailServer({ onMailFrom });
    await expect(targetOf(server.port).deliver([eventOf(1)], signal)).rejects.toThrow(TargetDown);
    await expect(targetOf(1).deliver([eventOf(1)], signal)).rejects.toThrow(/ECONNREFUSED/);
  });

  it('is down when the server does not answer in time', async () => {
    const sockets: Socket[] = [];
    const mute = createServer((socket) => void sockets.push(socket));
    mute.listen(0, '127.0.0.1');
    await once(mute, 'listening');
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      mute.close();
    });
    const target = targetOf((mute.address() as AddressInfo).port, { timeout: 50 });
    await expect(target.deliver([eventOf(1)], signal)).rejects.toThrow('expected the mail to be taken in 50 ms');
  });

  it('reports a message whose content the server refuses for good as refused', async () => {
    const server = await startMailServer({
      onData: (stream, _, done) => {
        stream.resume();
        stream.on('end', () => done(Object.assign(new Error('looks like spam'), { responseCode: 554 })));
      },
    });
    const refused = await targetOf(server.port).deliver([eventOf(1), eventOf(2)], signal);
    expect(refused).toMatchObject([
      { message: { position: 1 }, reason: expect.stringContaining('looks like spam') },
      { message: { position: 2 } },
    ]);
  });

  it('sends to the others when the server refuses a recipient, and says so', async () => {
    const server = await startMailServer({
      onRcptTo: ({ address }, _, done) =>
        address.startsWith('gone') ? done(Object.assign(new Error('no such user'), { responseCode: 550 })) : done(),
    });
    const target = targetOf(server.port, { to: ['gone@example.com', 'ops@example.com'] });
    await target.deliver([eventOf(1)], signal);
    expect(server.mails[0]?.to).toEqual(['ops@example.com']);
    expect(target.takeNotice()?.text).toBe('1 of 2 recipients were refused by the mail server');
  });

  it('signs in, and repeats no password when it is refused', async () => {
    const asked: (string | null | undefined)[] = [];
    const server = await startMailServer({
      authOptional: false,
      allowInsecureAuth: true,
      onAuth: ({ password }, _, done) => {
        asked.push(password);
        if (password === 'right horse') done(null, { user: 'rollcall' });
        else done(new Error('expected another password'));
      },
    });
    const withPassword = (password: string) => targetOf(server.port, { user: 'rollcall', password: () => password });
    await withPassword('right horse').deliver([eventOf(1)], signal);
    const error = await withPassword('wrong horse')
      .deliver([eventOf(2)], signal)
      .catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(TargetDown);
    expect(String(error)).not.toContain('horse');
    expect(asked).toEqual(['right horse', 'wrong horse']);
    expect(server.mails).toHaveLength(1);
  });
});

describe('an e-mail target over TLS', async () => {
  const ours = await makeDatedAuthority('CN=ours');
  const another = await makeDatedAuthority('CN=another');
  const { certificatePem: cert, keyPem: key } = await ours.server(LONG_AGO, FAR_OFF, [
    { type: 'ip', value: '127.0.0.1' },
  ]);
  const modes = ['starttls', 'implicit'] as const;

  it.each(modes)('sends over %s to a server that it trusts, and nothing to another', async (mode) => {
    const server = await startMailServer({ key, cert, secure: mode === 'implicit' });
    await targetOf(server.port, { mode, tls: () => ({ ca: ours.rootPem }) }).deliver([eventOf(1)], signal);
    expect(server.mails).toMatchObject([{ isEncrypted: true }]);
    const wary = targetOf(server.port, { mode, tls: () => ({ ca: another.rootPem }) });
    await expect(wary.deliver([eventOf(2)], signal)).rejects.toThrow(TargetUntrusted);
    expect(server.mails).toHaveLength(1);
  });

  it('sends nothing, not even its password, to a server without STARTTLS', async () => {
    let isAsked = false;
    const server = await startMailServer({
      onAuth: (_, __, done) => {
        isAsked = true;
        done(null, { user: 'rollcall' });
      },
      allowInsecureAuth: true,
    });
    const target = targetOf(server.port, { tls: () => ({ ca: ours.rootPem }), user: 'u', password: () => 'secret' });
    await expect(target.deliver([eventOf(1)], signal)).rejects.toThrow(TargetDown);
    expect({ isAsked, mails: server.mails.length }).toEqual({ isAsked: false, mails: 0 });
  });
});
