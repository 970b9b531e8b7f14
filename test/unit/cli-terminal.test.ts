// Passwords on a terminal: a real one (a pseudo-terminal that Python opens), and what is typed is not shown.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { verifyPassword } from '../../src/auth/schemes.ts';
import { MailHost, PROJECT } from '../support/mail-host.ts';
import { requireProgram, run } from '../support/programs.ts';

/** Types each answer (JSON list on standard input) when the terminal shows its prompt; prints all that the terminal showed, then the exit status. */
const TYPIST = `
import json, os, pty, sys
answers = json.load(sys.stdin)
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
shown = b""
for prompt, answer in answers:
    seen = len(shown)
    while prompt.encode() not in shown[seen:]:
        shown += os.read(fd, 1024)
    os.write(fd, answer.encode())
try:
    while True:
        more = os.read(fd, 1024)
        if not more: break
        shown += more
except OSError:
    pass
print(shown.decode())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;

test('on a terminal the password is asked for without echo, twice', async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  await using host = await MailHost.create();
  const type = async (answers: readonly (readonly [string, string])[]): Promise<string> => {
    const command = [process.execPath, join(PROJECT, 'src', 'bin', 'buzon.ts'), 'user', 'passwd', 'ana@example.test'];
    const result = await run(python, ['-c', TYPIST, ...command, '--config', host.settingsFile], {
      input: JSON.stringify(answers),
      timeoutMs: 30_000,
    });
    assert.equal(result.status, 0, result.stderr);
    return result.stdout;
  };
  const shadow = (): Promise<string> => readFile(join(host.maildir('ana@example.test'), 'shadow'), 'utf8');
  const before = await shadow();
  const cancelled = await type([['New password: ', 'terminal-s\u0003']]);
  assert.match(cancelled, /nothing was changed[^]*\n1\n$/);
  assert.equal(await shadow(), before);
  const done = await type([
    ['New password: ', 'wrong\u0015terminal-sx\u007fecrét\r'],
    ['Once more: ', 'terminal-secrét\r'],
  ]);
  assert.match(done, /the password of ana@example\.test is changed[^]*\n0\n$/);
  assert.doesNotMatch(done + cancelled, /terminal|wrong|ecr/);
  assert.equal(verifyPassword('terminal-secrét', (await shadow()).split(':')[1] ?? '', 'CRYPT'), true);
});
