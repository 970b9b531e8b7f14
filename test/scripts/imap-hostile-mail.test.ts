// Row 10 as a client sees it: messages built to hurt a parser are stored, and every answer about them is valid.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImapClient } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';
import { parseImapValues } from '../support/imap-value.ts';

const nested = (depth: number): string => {
  let text = '';
  for (let i = 0; i < depth; i++) text += `Content-Type: multipart/mixed; boundary=b${i}\n\n--b${i}\n`;
  return `${text}Content-Type: text/plain\n\ndeep\n`;
};
const MESSAGES: Record<string, string> = {
  '10⁵ parts': `Content-Type: multipart/mixed; boundary=b\n\n${'--b\n\nx\n'.repeat(100_000)}--b--\n`,
  'depth 200': nested(200),
  '10⁴ RFC 2231 parameters': `Content-Type: text/plain;\n${Array.from({ length: 10_000 }, (_, i) => ` name*${i}=x`).join(';\n')}\n\nx\n`,
  'no header at all': '\nbody\n',
  'nothing but 8-bit and quotes':
    'Subject: "\\" \xff\xfe (\nFrom: "a\\" <b@c\nContent-Type: text/"x; a="b\\\nContent-Disposition: ";"\n\nx\n',
};

for (const [name, message] of Object.entries(MESSAGES))
  test(`row 10: ${name}: stored; ENVELOPE, BODY and BODYSTRUCTURE are valid`, async (t) => {
    const server = await ImapTestServer.start(t);
    await server.deliver(message);
    const client = await ImapClient.connect(server.port);
    await client.response();
    await client.command('l', 'LOGIN ana@example.test secret');
    await client.command('s', 'EXAMINE INBOX');
    const [line = '', done] = await client.command('f', 'FETCH 1 (ENVELOPE BODY BODYSTRUCTURE RFC822.SIZE)');
    assert.equal(done, 'f OK Fetch completed');
    // The items as one list: names are atoms, which the strict reader of values does not know.
    const items = line
      .slice('* 1 FETCH ('.length, -1)
      .replace(/^ENVELOPE /, '')
      .replace(' BODY (', ' (')
      .replace(' BODYSTRUCTURE (', ' (')
      .replace(/ RFC822\.SIZE (\d+)$/, ' $1');
    const values = parseImapValues(items);
    assert.equal(values.length, 4);
    assert.equal((values[0] as unknown[]).length, 10);
    assert.equal(values[3], message.replaceAll('\n', '\r\n').length);
    client.destroy();
  });
