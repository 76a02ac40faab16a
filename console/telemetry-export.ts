import { escapeControls, hasControls, jsonText } from '@rollcall/output';
import { isMediaType } from '@rollcall/protocol';
import type { StoredMessage } from '../telemetry/index.ts';
import { type MessageView, messageJson, viewMessage } from './message-view.ts';

export type ExportFormat = 'ndjson' | 'csv';

export const EXPORT_MEDIA_TYPES: Readonly<Record<ExportFormat, string>> = {
  ndjson: 'application/x-ndjson',
  csv: 'text/csv; charset=utf-8',
};

const CSV_COLUMNS = [
  'position',
  'device',
  'stream',
  'receivedAt',
  'qos',
  'deviceTime',
  'deviceSequence',
  'key',
] as const satisfies readonly (keyof MessageView)[];

/**
 * `encoding` says which of its three forms a payload is in: json, text or base64. Columns that were added later are the last ones, so that
 * the number of a column stays.
 */
const CSV_HEADER = `${[...CSV_COLUMNS, 'contentType', 'encoding', 'payload', 'payloadFormatIndicator', 'userProperties'].join(',')}\r\n`;

/** One text per page. */
export async function* exportText(
  pages: AsyncIterable<readonly StoredMessage[]>,
  format: ExportFormat,
): AsyncGenerator<string> {
  const line = format === 'csv' ? csvLine : messageJson;
  if (format === 'csv') yield CSV_HEADER;
  for await (const page of pages) yield page.map(line).join('');
}

/** Text of a device that a spreadsheet would run as a formula. */
const FORMULA = /^[=+\-@]/;

/** RFC 4180. */
function csvLine(message: StoredMessage): string {
  const view = viewMessage(message);
  const fields: unknown[] = CSV_COLUMNS.map((column) => view[column] ?? '');
  fields.push(contentTypeField(view.contentType));
  if (view.text !== undefined && (FORMULA.test(view.text) || hasControls(view.text))) {
    fields.push('base64', Buffer.from(view.text).toString('base64'));
  } else if (view.text !== undefined) fields.push('text', view.text);
  else if (view.base64 !== undefined) fields.push('base64', view.base64);
  else fields.push('json', jsonText(view.payload));
  fields.push(
    view.payloadFormatIndicator ?? '',
    view.userProperties === undefined ? '' : jsonText(view.userProperties),
  );
  return `${fields.map((field) => csvField(escapeControls(String(field)))).join(',')}\r\n`;
}

/** The device may send any text: one that is no media type is written as a JSON string, which no spreadsheet evaluates. */
function contentTypeField(contentType: string | undefined): string {
  return contentType === undefined || isMediaType(contentType) ? (contentType ?? '') : jsonText(contentType);
}

function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
