// Mail sent by one user and read by another over IMAP: for programs that read mail.
//
//   npm install --save-dev buzon nodemailer @types/nodemailer imapflow
//   node read-imap.ts
import assert from 'node:assert/strict';
import { startTestServer } from 'buzon/testing';
import { ImapFlow } from 'imapflow';
import nodemailer from 'nodemailer';

await using server = await startTestServer({
  users: { 'ana@example.test': 'secret', 'leo@example.test': 'hidden' },
  aliases: { 'team@example.test': ['ana@example.test', 'leo@example.test'] },
});
const tls = { ca: server.ca };

// Ana logs in, as a mail program would, and writes to the team.
const transport = nodemailer.createTransport({
  ...server.submissions,
  auth: { user: 'ana@example.test', pass: 'secret' },
  tls,
});
await transport.sendMail({ from: 'ana@example.test', to: 'team@example.test', subject: 'Lunch?', text: 'At one, as always.' });
transport.close();

// Leo reads it.
const client = new ImapFlow({ ...server.imaps, auth: { user: 'leo@example.test', pass: 'hidden' }, tls, logger: false });
await client.connect();
const lock = await client.getMailboxLock('INBOX');
try {
  const mail = await client.fetchOne('*', { envelope: true, source: true });
  assert.ok(mail);
  assert.equal(mail.envelope?.subject, 'Lunch?');
  console.log(mail.source?.toString());
} finally {
  lock.release();
  await client.logout();
}

// An empty mailbox for the next test, without a new server.
await server.reset();
assert.deepEqual(server.messages(), []);
