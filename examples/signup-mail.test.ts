// A test of a program that sends mail: does who signs up get a link?
//
//   npm install --save-dev buzon nodemailer @types/nodemailer
//   node --test signup-mail.test.ts
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestServer } from 'buzon/testing';
import nodemailer from 'nodemailer';

/** The program under test: it only knows where its mail server is. */
async function signUp(address: string, smtp: { host: string; port: number; tls: { ca: string } }): Promise<void> {
  const transport = nodemailer.createTransport(smtp);
  await transport.sendMail({
    from: 'Shop <noreply@shop.test>',
    to: address,
    subject: 'Confirm your address',
    text: 'Welcome! Please follow https://shop.test/confirm/4f7a within a day.',
    html: '<p>Welcome! <a href="https://shop.test/confirm/4f7a">Confirm</a></p>',
  });
  transport.close();
}

test('who signs up gets a link', async () => {
  await using server = await startTestServer();

  // Any address will do: what is not a user's is caught here, too, and goes nowhere.
  await signUp('maria@customer.test', { ...server.smtp, tls: { ca: server.ca } });

  const mail = await server.waitForMessage({ to: 'maria@customer.test', subject: /confirm/i }, { timeout: 2_000 });
  assert.match(mail.parsed.text ?? '', /https:\/\/shop\.test\/confirm\/\w+/);
  assert.equal(mail.envelope.from, 'noreply@shop.test');
  assert.deepEqual(mail.parsed.attachments, []);
  assert.equal(server.messages().length, 1);
});

test('an address that does not exist is not passed over in silence', async () => {
  await using server = await startTestServer({ domains: ['customer.test'] });

  // In a domain of the server's own an address that nobody has is refused, as a real server would.
  await assert.rejects(signUp('nobody@customer.test', { ...server.smtp, tls: { ca: server.ca } }), /550 5\.1\.1/);
  assert.deepEqual(server.messages(), []);
});
