// A mail server that fails on demand: does the program try again when it should, and give up when it must?
//
//   npm install --save-dev buzon nodemailer @types/nodemailer
//   node failing.ts
import assert from 'node:assert/strict';
import { startTestServer } from 'buzon/testing';
import nodemailer from 'nodemailer';

await using server = await startTestServer({ users: { 'ana@example.test': 'secret' } });

/** The program under test: tries again after a 4xx, at most three times. */
async function send(): Promise<string> {
  const transport = nodemailer.createTransport({ ...server.smtp, tls: { ca: server.ca } });
  for (let attempt = 1; ; attempt++) {
    try {
      await transport.sendMail({
        from: 'shop@shop.test',
        to: 'ana@example.test',
        subject: 'Your order',
        text: 'It is on its way.',
      });
      return `sent at attempt ${attempt}`;
    } catch (error) {
      const code = (error as { responseCode?: number }).responseCode ?? 0;
      if (code >= 500 || attempt === 3) return `given up with ${code}`;
    }
  }
}

// Each refuses once: the first attempt meets greylisting, the second a full disk, the third goes through.
server.failNext({ stage: 'rcpt', code: 450, text: 'Greylisted, try again later' });
server.failNext({ stage: 'data', code: 452 });
assert.equal(await send(), 'sent at attempt 3');
assert.equal(server.messages().length, 1);

await server.reset();
server.failNext({ stage: 'rcpt', code: 550 });
assert.equal(await send(), 'given up with 550');
assert.deepEqual(server.messages(), []);

// A wait in vain says what came instead, and what was refused.
await assert.rejects(server.waitForMessage({ subject: 'Your order' }, { timeout: 100 }), (error: Error) => {
  console.log(error.message);
  return /550 5\.1\.1/.test(error.message);
});
