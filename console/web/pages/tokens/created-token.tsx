import type { AnswerOf } from '../../api.ts';
import { Copyable } from '../../parts/copyable.tsx';
import { Dialog } from '../../parts/dialog.tsx';
import { QrCode } from '../../parts/qr-code.tsx';
import { Time } from '../../parts/time.tsx';
import { loopbackUrlOf } from './token-words.ts';

/** The text of a new token, which the server does not show again, and how a device uses it. */
export function CreatedToken(props: { readonly created: AnswerOf<'POST /v1/tokens'>; readonly onClose: () => void }) {
  const { token, text } = props.created;
  const loopbackUrl = loopbackUrlOf(text);
  const heredoc = `- <<'TOKEN'\n${text}\nTOKEN`;
  const device = token.device ?? 'NAME';
  return (
    <Dialog title={`Token ${token.id}`} onClose={props.onClose}>
      <div class="form">
        {loopbackUrl !== undefined && (
          <p class="notice bad">
            The token names {loopbackUrl}: only the server's own machine can use it. Start the server with --host
            ADDRESS --public-host NAME for devices elsewhere.
          </p>
        )}
        <div class="token-once">
          <QrCode text={text} label="The token as a QR code" />
          <div class="form">
            <p>
              {token.device === undefined
                ? `Enrolls ${token.maxUses === 1 ? 'one device' : `${token.maxUses} devices`} of group ${token.group}, until `
                : `Enrolls the device ${token.device} alone, until `}
              <Time at={token.expiresAt} />.
            </p>
            <p class="soft small">This is the only time that its text is shown: the server stores a hash of it.</p>
            <div>
              <h3>Token</h3>
              <Copyable text={text} label="the token" />
            </div>
          </div>
        </div>
        <div>
          <h3>On a gateway with the agent</h3>
          <Copyable text={`sudo rollcall-device enroll --token ${heredoc}`} label="the command for the agent" />
        </div>
        <details>
          <summary>Without the agent, by the command line</summary>
          <Copyable
            text={`rollcall device enroll --id ${device} --out ${device} --token ${heredoc}`}
            label="the command for a device without the agent"
          />
        </details>
        <div class="dialog-actions">
          <a class="button" href={`/tokens/${token.id}`}>
            Open the token
          </a>
          <button type="button" class="primary" onClick={props.onClose}>
            Done
          </button>
        </div>
      </div>
    </Dialog>
  );
}
