/**
 * Serves the built pages. All files are read into memory at the start, so that no path of a request reaches the file
 * system. The document is the answer to each page's address; names of other files contain their hash and may be cached.
 * Pages contain no data: what they show, they ask the API for.
 */

import { createHash } from 'node:crypto';
import { type Dirent, readdirSync, readFileSync } from 'node:fs';
import { extname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { PAGES } from './web/navigation.ts';

/** Where the build of `web/` writes. */
const BUILT_PAGES = fileURLToPath(new URL('web/dist', import.meta.url));
const DOCUMENT = 'index.html';

const MEDIA_TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Nothing runs, loads or connects that is not of this origin; no inline script or style; no frame around it. */
export const PAGE_HEADERS = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=(), payment=(), usb=()',
  'referrer-policy': 'same-origin',
  'x-frame-options': 'DENY',
} as const;

interface PageFile {
  readonly mediaType: string;
  readonly etag: string;
  readonly plain: Buffer;
  /** Compressed at the first request: a start does not wait for it. */
  readonly gzip: () => Buffer;
  readonly brotli: () => Buffer;
}

const NOT_BUILT = `<!doctype html><html lang="en"><meta charset="utf-8"><title>Rollcall</title>
<p>The pages of this console are not built: run "npm run build:console" in the checkout, and start the server again.
The HTTP API and the command line work without them.</p></html>`;

/** Adds a route for each page and each file. Without built pages the document says how to build them. */
export function addWebPages(app: FastifyInstance, directory = BUILT_PAGES): void {
  const files = readPages(directory);
  const document = files.get(DOCUMENT) ?? pageFile(DOCUMENT, Buffer.from(NOT_BUILT));
  for (const { path } of PAGES) {
    addFile(app, path, document, 'no-cache');
    if (path !== '/') addFile(app, `${path}/*`, document, 'no-cache');
  }
  for (const [name, file] of files) {
    if (name !== DOCUMENT) addFile(app, `/${name}`, file, 'public, max-age=31536000, immutable');
  }
}

function addFile(app: FastifyInstance, url: string, file: PageFile, cacheControl: string): void {
  app.route({
    method: 'GET',
    url,
    config: { access: 'anyone' },
    schema: { hide: true },
    handler: (request, reply) => sendFile(request, reply, file, cacheControl),
  });
}

function sendFile(request: FastifyRequest, reply: FastifyReply, file: PageFile, cacheControl: string): FastifyReply {
  const { mediaType, etag } = file;
  reply.headers({ ...PAGE_HEADERS, 'cache-control': cacheControl, vary: 'accept-encoding', etag });
  if (request.headers['if-none-match'] === etag) return reply.code(304).send();
  const accepted = String(request.headers['accept-encoding'] ?? '');
  const encoding = /\bbr\b/.test(accepted) ? 'br' : /\bgzip\b/.test(accepted) ? 'gzip' : undefined;
  if (encoding !== undefined) reply.header('content-encoding', encoding);
  const body = encoding === 'br' ? file.brotli() : encoding === 'gzip' ? file.gzip() : file.plain;
  return reply.type(mediaType).send(body);
}

/** By path below the directory. Files of other types, such as the list of licences, are not served. */
function readPages(directory: string): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  for (const entry of filesBelow(directory)) {
    const path = join(entry.parentPath, entry.name);
    const name = relative(directory, path).replaceAll('\\', '/');
    if (Object.hasOwn(MEDIA_TYPES, extname(name))) files.set(name, pageFile(name, readFileSync(path)));
  }
  return files;
}

function filesBelow(directory: string): readonly Dirent[] {
  try {
    return readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function pageFile(name: string, plain: Buffer): PageFile {
  return {
    mediaType: MEDIA_TYPES[extname(name)] as string,
    etag: `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`,
    plain,
    gzip: once(() => gzipSync(plain, { level: 9 })),
    brotli: once(() => brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } })),
  };
}

function once(compress: () => Buffer): () => Buffer {
  let compressed: Buffer | undefined;
  return () => {
    compressed ??= compress();
    return compressed;
  };
}
