/** Writes the manual pages and completions of the commands, which the program makes from their definitions. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';

const COMPLETIONS = {
  bash: 'usr/share/bash-completion/completions/rollcall',
  zsh: 'usr/share/zsh/vendor-completions/_rollcall',
  fish: 'usr/share/fish/vendor_completions.d/rollcall.fish',
};

/** `root` is the root directory of the package. */
export function writeCommandDocuments(repository: string, root: string): void {
  const run = (...args: readonly string[]) =>
    execFileSync(process.execPath, [join(repository, 'cli/main.ts'), ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
  const write = (path: string, content: Buffer) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  for (const [shell, path] of Object.entries(COMPLETIONS)) write(path, run('completion', shell));
  const pages = mkdtempSync(join(tmpdir(), 'rollcall-man-'));
  try {
    run('man', '--out', pages);
    for (const page of readdirSync(pages)) {
      write(`usr/share/man/man1/${page}.gz`, gzipSync(readFileSync(join(pages, page)), { level: 9 }));
    }
  } finally {
    rmSync(pages, { recursive: true, force: true });
  }
}
