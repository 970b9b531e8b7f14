// mbsync (isync) against the running server: a mirror of 1,000 messages, both ways; a second run moves nothing.
import assert from 'node:assert/strict';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { mbsync, mbsyncConfig, mirrorNames } from '../support/mbsync.ts';
import { startMailHost } from '../support/mail-host.ts';
import { requireProgram } from '../support/programs.ts';
import { SmtpSender } from '../support/smtp-send.ts';

test('mbsync mirrors 1,000 messages both ways, and a second run moves nothing', async (t) => {
  const program = await requireProgram(t, 'mbsync');
  if (program === undefined) return;
  await using host = await startMailHost();
  const sender = await SmtpSender.connect(host.ports.smtp);
  for (let n = 0; n < 500; n++)
    await sender.send({
      from: 'eva@remote.test',
      to: ['ana@example.test'],
      data: `From: eva@remote.test\r\nSubject: in ${n}\r\nMessage-ID: <in-${n}@remote.test>\r\n\r\n${'line of text\r\n'.repeat(n % 40)}`,
    });
  await sender.quit();
  const mirror = await mbsyncConfig(host, 'ana@example.test', 'ana-secret');
  // The other 500 start on the client's side, in a folder that the server does not know yet.
  const local = join(mirror.maildir, 'Archivo');
  for (const sub of ['cur', 'new', 'tmp']) await mkdir(join(local, sub), { recursive: true });
  for (let n = 0; n < 500; n++)
    await writeFile(
      join(local, 'cur', `1700000000.${n}.client:2,${n % 2 ? 'S' : ''}`),
      `Subject: out ${n}\nMessage-ID: <out-${n}@c.test>\n\nhello ${n}\n`,
    );

  await mbsync(program, mirror);
  assert.equal((await mirrorNames(mirror, 'INBOX')).length, 500);
  const archive = [
    ...(await host.names('ana@example.test', '.Archivo', 'cur')),
    ...(await host.names('ana@example.test', '.Archivo', 'new')),
  ];
  assert.equal(archive.length, 500);
  assert.equal(archive.filter((name) => /:2,S/.test(name)).length, 250);

  const before = { mirror: await mirrorNames(mirror, 'INBOX'), archive: archive.sort() };
  const said = await mbsync(program, mirror, '-V');
  assert.doesNotMatch(said, /pulled [1-9]|pushed [1-9]|[+*]([1-9]\d*) /, said);
  assert.deepEqual(await mirrorNames(mirror, 'INBOX'), before.mirror);
  const after = [
    ...(await host.names('ana@example.test', '.Archivo', 'cur')),
    ...(await host.names('ana@example.test', '.Archivo', 'new')),
  ];
  assert.deepEqual(after.sort(), before.archive);

  // Flags and deletions travel both ways.
  const inbox = join(mirror.maildir, 'INBOX', 'cur');
  const inNew = join(mirror.maildir, 'INBOX', 'new');
  const [first = ''] = await readdir(inNew);
  await rename(join(inNew, first), join(inbox, `${first.replace(/:2,.*/, '')}:2,FS`));
  const [gone = ''] = (await readdir(inNew)).slice(-1);
  await rm(join(inNew, gone));
  await mbsync(program, mirror);
  const names = [...(await host.names('ana@example.test', 'cur')), ...(await host.names('ana@example.test', 'new'))];
  assert.equal(names.length, 499);
  assert.equal(names.filter((name) => /:2,FS$/.test(name)).length, 1);
});
