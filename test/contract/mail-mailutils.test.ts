// Debian's `mail` (GNU mailutils) against ours, with standard input that is no terminal: what reaches sendmail must be the same text.
import assert from 'node:assert/strict';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../../src/cli/main.ts';
import { captureIo } from '../support/command-io.ts';
import { MaildropHouse } from '../support/maildrop-house.ts';
import { requireProgram, run } from '../support/programs.ts';

/** Tilde escapes, were somebody there to type them. */
const TEXT = 'uno\n~s other subject\n~~dos\n~q\n~.\n~! echo hi\n~x\n~c c@x.test\n~r /etc/passwd\n~\nfin\n';

const bodyOf = (message: string): string => message.replaceAll('\r\n', '\n').replace(/^[^]*?\n\n/, '');

test('contract: lines of mail’s input that begin with ~ are text, as GNU mailutils has it', async (t) => {
  const mail = await requireProgram(t, 'mail.mailutils');
  if (mail === undefined) return;
  const house = await MaildropHouse.make(t);
  const sent = join(house.folder, 'sent');
  const sendmail = join(house.folder, 'sendmail');
  await writeFile(sendmail, `#!/bin/sh\ncat >${sent}\n`);
  await chmod(sendmail, 0o755);
  const options = ['--no-config', '-E', `set sendmail=sendmail:${sendmail}`];
  const theirs = await run(mail, [...options, '-s', 'subject', 'ana@example.test'], {
    input: TEXT,
    env: { ...process.env, HOME: house.folder },
  });
  assert.equal(theirs.status, 0, theirs.stderr);
  const io = captureIo({ input: TEXT, cwd: house.folder, env: { MAIL_CONFIG: house.folder } });
  assert.equal(await runCommand(['mail', '-s', 'subject', 'ana@example.test'], io), 0, io.stderr);
  const [ours] = await house.dropped();
  assert.equal(bodyOf(ours?.message ?? ''), TEXT);
  assert.equal(bodyOf(await readFile(sent, 'utf8')), TEXT);
  assert.match(ours?.message ?? '', /^Subject: subject\r$/m);
});
