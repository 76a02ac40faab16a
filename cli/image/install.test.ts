/** What an installation that is interrupted leaves behind: no token that others can read. Needs root, as install.sh does. */

import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryDirectory } from '../../test/fixtures/temporary.ts';

const SCRIPT = fileURLToPath(new URL('files/install.sh', import.meta.url));

describe.skipIf(process.getuid?.() !== 0)('install.sh (skipped unless run by root)', () => {
  it('holds the token where nobody else can read it at every moment, even in the place of an older one', () => {
    const directory = temporaryDirectory();
    const [image, root, bin] = ['image', 'root', 'bin'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    for (const each of [image, root, bin]) mkdirSync(each);
    copyFileSync(SCRIPT, join(image, 'install.sh'));
    for (const name of ['rollcall-device.cjs', 'rollcall-device.service', 'device.conf', 'node', 'token']) {
      writeFileSync(join(image, name), name, { mode: 0o644 }); // a boot partition knows no other mode
    }
    const copy = join(root, 'etc/rollcall-device/token.new');
    mkdirSync(join(root, 'etc/rollcall-device'), { recursive: true });
    writeFileSync(copy, 'of an interrupted installation', { mode: 0o644 });
    // The power goes when the token was copied, and before anything else happens to it.
    writeFileSync(join(bin, 'chmod'), '#!/bin/sh\ncase "$*" in *token.new) exit 9;; esac\nexec /bin/chmod "$@"\n', {
      mode: 0o755,
    });
    const { status } = spawnSync('sh', [join(image, 'install.sh'), '--root', root], {
      env: { ...process.env, PATH: `${bin}:${process.env.PATH}` },
    });
    expect(status).toBe(9);
    expect(statSync(copy).mode & 0o777).toBe(0o600);
  });
});
