import type { AnswerOf } from '../../api.ts';
import { Copyable } from '../../parts/copyable.tsx';
import { Dialog } from '../../parts/dialog.tsx';
import { Time } from '../../parts/time.tsx';

/** The files that stand beside the key, as `rollcall service issue` writes them and `rollcall service renew` reads them. */
export function IssuedCredentials(props: {
  readonly issued: AnswerOf<'POST /v1/services'>;
  readonly onClose: () => void;
}) {
  const { service, certificatePem, caPem, enrollUrl, mqttUrl } = props.issued;
  const { name, expiresAt } = service;
  const files = [
    ['cert.pem', certificatePem, 'the certificate, leaf first'],
    ['ca.pem', caPem, 'the CAs of the fleet, to verify the servers'],
    [
      'service.json',
      `${JSON.stringify({ service: name, enrollUrl, mqttUrl }, undefined, 2)}\n`,
      'the name and the addresses',
    ],
  ] as const;
  return (
    <Dialog title={`Certificate of ${name}`} onClose={props.onClose}>
      <div class="form">
        <p>
          Copy these files beside <code>key.pem</code> on the machine of the application; of long ones only the
          beginning is shown.
          {expiresAt !== undefined && (
            <>
              {' '}
              The certificate ends <Time at={expiresAt} />; <code>rollcall service renew</code> renews it there.
            </>
          )}
        </p>
        {files.map(([file, text, what]) => (
          <div key={file} class="cut">
            <h3>
              {file} <span class="soft small">{what}</span>
            </h3>
            <Copyable text={text} label={file} />
          </div>
        ))}
        <div class="dialog-actions">
          <button type="button" class="primary" onClick={props.onClose}>
            Done
          </button>
        </div>
      </div>
    </Dialog>
  );
}
