// The real server as a part of another program: settings under the names of buzon.yaml, here with everything in a folder of its own.
//
//   npm install buzon nodemailer @types/nodemailer
//   node own-server.ts
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createMailServer, MailError, type SettingsInput } from 'buzon';
import nodemailer from 'nodemailer';

const directory = await mkdtemp(join(tmpdir(), 'own-server-'));
const settings: SettingsInput = {
  hostname: 'mail.example.test',
  virtual_mailbox_domains: ['example.test'],
  virtual_mailbox_base: 'vhosts',
  virtual_mailbox_maps: 'inline:{ ana@example.test=example.test/ana/ }',
  postmaster: 'ana@example.test',
  data_directory: 'data',
  queue_directory: 'queue',
  message_size_limit: '1M',
  listeners: [{ protocol: 'smtp', address: '127.0.0.1', port: 0 }],
};

try {
  // What is wrong is said at once, with what would be right.
  await assert.rejects(createMailServer({ settings: { ...settings, message_size_limit: 'huge' }, directory }), MailError);

  await using server = await createMailServer({
    settings,
    directory,
    log: (level, event, fields) => console.log(level, event, fields),
  });
  await server.start();
  const [smtp] = server.addresses;
  assert.ok(smtp);

  const transport = nodemailer.createTransport({ host: smtp.address, port: smtp.port });
  await transport.sendMail({ from: 'shop@shop.test', to: 'postmaster@example.test', subject: 'Hello', text: 'It works.' });
  transport.close();

  const inbox = join(directory, 'vhosts/example.test/ana/new');
  const [file] = await readdir(inbox);
  assert.ok(file);
  assert.match(await readFile(join(inbox, file), 'utf8'), /It works\./);

  // New settings while it runs.
  const { changed } = await server.reload({ ...settings, virtual_mailbox_domains: ['example.test', 'example.org'] });
  assert.deepEqual(changed, ['virtual_mailbox_domains']);
} finally {
  await rm(directory, { recursive: true });
}
