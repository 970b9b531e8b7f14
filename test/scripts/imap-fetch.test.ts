// FETCH and UID FETCH: items, macros, sections, partials, \Seen, sets, messages that are gone.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ImapClient, play } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const IN = (box = 'INBOX', command = 'SELECT'): string =>
  `C: l LOGIN ana@example.test secret\n    S~ ^l OK\n    C: s ${command} ${box}\n    S* ^s OK`;
const PLAIN =
  'From: Bob <bob@example.org>\nTo: ana@example.test\nSubject: one\nDate: Tue, 24 Nov 2026 13:41:13 +0000\nMessage-ID: <1@x>\n\nHello\nworld\n';
const MULTI = [
  'From: a@b.c',
  'Subject: parts',
  'MIME-Version: 1.0',
  'Content-Type: multipart/mixed; boundary=b',
  '',
  'preamble',
  '--b',
  'Content-Type: text/plain; charset=utf-8',
  '',
  'text part',
  '--b',
  'Content-Type: message/rfc822',
  '',
  'Subject: inner',
  'From: i@n.er',
  '',
  'inner body',
  '--b--',
  '',
].join('\n');

test('every item, and the macros', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(PLAIN);
  const envelope =
    '("Tue, 24 Nov 2026 13:41:13 +0000" "one" (("Bob" NIL "bob" "example.org")) (("Bob" NIL "bob" "example.org")) (("Bob" NIL "bob" "example.org")) ((NIL NIL "ana" "example.test")) NIL NIL NIL "<1@x>")';
  const date = 'INTERNALDATE "[ \\d]\\d-\\w{3}-\\d{4} \\d\\d:\\d\\d:\\d\\d [+-]\\d{4}"';
  const quote = (text: string): string => text.replaceAll(/[()+.\\"[\]]/g, '\\$&');
  await play(
    server.port,
    String.raw`
    ${IN('INBOX', 'EXAMINE')}
    C: a FETCH 1 ALL
    S~ ^\* 1 FETCH \(FLAGS \(\\Recent\) ${date} RFC822\.SIZE 139 ENVELOPE ${quote(envelope)}\)$
    S~ ^a OK
    C: b FETCH 1 FAST
    S~ ^\* 1 FETCH \(FLAGS \(\\Recent\) ${date} RFC822\.SIZE 139\)$
    S~ ^b OK
    C: c FETCH 1 FULL
    S~ ENVELOPE .* BODY \(".*" ".*" .* "7bit" 14 2\)\)$
    S~ ^c OK
    C: d FETCH 1 (UID BODYSTRUCTURE)
    S~ ^\* 1 FETCH \(UID 1 BODYSTRUCTURE \("text" "plain" .* NIL NIL "7bit" 14 2 NIL NIL NIL NIL\)\)$
    S~ ^d OK
    C: e FETCH 1 (RFC822.HEADER)
    S~ ^\* 1 FETCH \(RFC822\.HEADER \{125\}\r\nFrom: Bob .*\r\n\r\n\)$
    S~ ^e OK
    C: f FETCH 1 RFC822.TEXT
    S: * 1 FETCH (RFC822.TEXT {14}\r\nHello\r\nworld\r\n)
    S~ ^f OK
    C: g FETCH 1 RFC822
    S~ ^\* 1 FETCH \(RFC822 \{139\}\r\nFrom.*world\r\n\)$
    S~ ^g OK
    C: h FETCH 1 (NOSUCH)
    S: h BAD Unknown fetch item
    C: i FETCH 1 ()
    S~ ^i BAD
    C: j FETCH 1 (FLAGS FLAGS
    S~ ^j BAD
    C: k FETCH 1 BODY[MIME]
    S~ ^k BAD
    C: m FETCH 1 BODY[]<0.0>
    S~ ^m BAD
  `,
  );
});

test('sections: parts, MIME, inner messages, HEADER.FIELDS, what is not there', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MULTI);
  await play(
    server.port,
    String.raw`
    ${IN('INBOX', 'EXAMINE')}
    C: a FETCH 1 BODY[1]
    S: * 1 FETCH (BODY[1] {9}\r\ntext part)
    S~ ^a OK
    C: b FETCH 1 (BODY[1.MIME] BODY.PEEK[2.HEADER] BODY[2.TEXT] BODY[2.1])
    S: * 1 FETCH (BODY[1.MIME] {43}\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n BODY[2.HEADER] {32}\r\nSubject: inner\r\nFrom: i@n.er\r\n\r\n BODY[2.TEXT] {10}\r\ninner body BODY[2.1] {10}\r\ninner body)
    S~ ^b OK
    C: c FETCH 1 BODY[HEADER.FIELDS (subject NOSUCH)]
    S: * 1 FETCH (BODY[HEADER.FIELDS (subject NOSUCH)] {18}\r\nSubject: parts\r\n\r\n)
    S~ ^c OK
    C: d FETCH 1 BODY[2.HEADER.FIELDS.NOT (SUBJECT)]<1.4>
    S: * 1 FETCH (BODY[2.HEADER.FIELDS.NOT (SUBJECT)]<1> {4}\r\nrom:)
    S~ ^d OK
    C: e FETCH 1 BODY[7]
    S: * 1 FETCH (BODY[7] NIL)
    S~ ^e OK
    C: f FETCH 1 BODY[HEADER.FIELDS (a\r]
    S~ BAD
    C: g FETCH 1 BODY[HEADER.FIELDS ("a b")]
    S~ ^g BAD
  `,
  );
});

test('partials are byte-exact on wire octets, whatever the line ends on disk', async (t) => {
  const server = await ImapTestServer.start(t);
  const body = Array.from({ length: 40_000 }, (_, i) => `line ${i}`).join('\n') + '\n';
  await server.deliver(`Subject: big\n\n${body}`);
  const wire = `Subject: big\r\n\r\n${body.replaceAll('\n', '\r\n')}`;
  const client = await ImapClient.connect(server.port);
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  await client.command('s', 'EXAMINE INBOX');
  for (const [start, count] of [
    [0, 1],
    [13, 5],
    [100_000, 70_000],
    [wire.length - 3, 100],
    [wire.length, 5],
    [4_294_967_295, 1],
  ] as const) {
    const [line] = await client.command('f', `FETCH 1 BODY.PEEK[]<${start}.${count}>`);
    const expected = wire.slice(start, start + count);
    assert.equal(line, `* 1 FETCH (BODY[]<${start}> {${expected.length}}\r\n${expected})`);
  }
  const [all] = await client.command('g', 'FETCH 1 BODY.PEEK[]');
  assert.equal(all, `* 1 FETCH (BODY[] {${wire.length}}\r\n${wire})`);
  const [size] = await client.command('h', 'FETCH 1 RFC822.SIZE');
  assert.equal(size, `* 1 FETCH (RFC822.SIZE ${wire.length})`);
  client.destroy();
});

test('BODY[] sets \\Seen and tells so once; BODY.PEEK[] and EXAMINE do not', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(PLAIN, PLAIN);
  await play(
    server.port,
    String.raw`
    ${IN()}
    C: a FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]
    S! Seen
    S* ^a OK
    C: b UID FETCH 1:2 BODY[HEADER.FIELDS (SUBJECT)]
    S: * 1 FETCH (UID 1 BODY[HEADER.FIELDS (SUBJECT)] {16}\r\nSubject: one\r\n\r\n FLAGS (\Seen \Recent))
    S: * 2 FETCH (UID 2 BODY[HEADER.FIELDS (SUBJECT)] {16}\r\nSubject: one\r\n\r\n FLAGS (\Seen \Recent))
    S~ ^b OK
    C: c FETCH 1 BODY[TEXT]<0.3>
    S: * 1 FETCH (BODY[TEXT]<0> {3}\r\nHel)
    S~ ^c OK
    C: d NOOP
    S~ ^d OK
  `,
  );
});

test('sets: *, reversed ranges, UIDs that are not there, numbers that are wrong', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(PLAIN, PLAIN, PLAIN);
  await play(
    server.port,
    String.raw`
    ${IN()}
    C: a FETCH * UID
    S: * 3 FETCH (UID 3)
    S~ ^a OK
    C: b FETCH *:2,3,2 UID
    S: * 2 FETCH (UID 2)
    S: * 3 FETCH (UID 3)
    S~ ^b OK
    C: c UID FETCH 4294967295:2 FLAGS
    S~ ^\* 2 FETCH \(UID 2
    S~ ^\* 3 FETCH \(UID 3
    S~ ^c OK
    C: d UID FETCH 77:* UID
    S: * 3 FETCH (UID 3)
    S~ ^d OK
    C: e UID FETCH 50:60 FLAGS
    S: e OK Fetch completed
    C: f FETCH 4 UID
    S: f BAD [CLIENTBUG] No such message
    C: g FETCH 0 UID
    S~ ^g BAD
    C: h FETCH 4294967296 UID
    S~ ^h BAD
    C: i FETCH 1:2: UID
    S~ ^i BAD
    C: j FETCH 1,,2 UID
    S~ ^j BAD
    C: k FETCH 99999999999999999999 UID
    S~ ^k BAD
    C: m CREATE empty
    S~ ^m OK
    C: n SELECT empty
    S* ^n OK
    C: o FETCH 1:* UID
    S: o OK Fetch completed
    C: p FETCH 1 UID
    S~ ^p BAD
    C: q UID FETCH 1:* FLAGS
    S: q OK Fetch completed
  `,
  );
});

test('a message that another session expunged: FETCH passes over it, NOOP tells', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(PLAIN, PLAIN, PLAIN);
  await play(
    server.port,
    String.raw`
    ${IN()}
    ${IN().replaceAll(/^( *)([CS])/gm, '$12$2')}
    2C: x STORE 2 +FLAGS.SILENT (\Deleted)
    2S* ^x OK
    2C: y EXPUNGE
    2S: * 2 EXPUNGE
    2S~ ^y OK
    C: a FETCH 1:3 UID
    S: * 1 FETCH (UID 1)
    S: * 3 FETCH (UID 3)
    S: a OK [EXPUNGEISSUED] Some of the messages have been expunged
    C: b STORE 2 +FLAGS (\Seen)
    S: b OK [EXPUNGEISSUED] Some of the messages no longer exist
    C: c SEARCH ALL
    S: * SEARCH 1 3
    S~ ^c OK
    C: d FETCH 3 UID
    S: * 3 FETCH (UID 3)
    S~ ^d OK
    C: e COPY 2 INBOX
    S: * 2 EXPUNGE
    S: e NO [EXPUNGEISSUED] Some of the messages no longer exist
    C: f FETCH 2 UID
    S: * 2 FETCH (UID 3)
    S~ ^f OK
  `,
  );
});

test('NUL in a file never reaches a literal', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(PLAIN);
  const folder = join(server.auth.account('ana@example.test').maildir, 'new');
  for (const name of await readdir(folder)) await writeFile(join(folder, name.replace(/,[SW].*/, '')), 'Subject: a\0b\n\nx\0y\n');
  const client = await ImapClient.connect(server.port);
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  const all = (await client.command('s', 'EXAMINE INBOX')).join('\n');
  const [, exists] = /\* (\d+) EXISTS/.exec(all) ?? [];
  const lines = await client.command('f', `FETCH 1:${exists} (BODY.PEEK[] ENVELOPE BODY.PEEK[HEADER.FIELDS (SUBJECT)])`);
  assert.ok(lines.some((line) => line.includes('x\x80y')));
  for (const line of lines) assert.ok(!line.includes('\0'));
  client.destroy();
});

test('a client that reads slowly gets everything; one that never reads is cut off', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { writeTimeout: 300, appendSize: 60_000_000 } });
  const body = randomBytes(6_000_000).toString('base64').replaceAll(/.{76}/g, '$&\n');
  await server.deliver(`Subject: big\n\n${body}\n`);
  const slow = await ImapClient.connect(server.port);
  await slow.response();
  await slow.command('l', 'LOGIN ana@example.test secret');
  await slow.command('s', 'EXAMINE INBOX');
  const fetched = slow.command('f', 'FETCH 1 BODY.PEEK[TEXT]');
  slow.socket.pause();
  setTimeout(() => slow.socket.resume(), 100);
  const [line = ''] = await fetched;
  assert.equal(line.length, body.replaceAll('\n', '\r\n').length + 2 + line.indexOf('\r\n') + 3);
  slow.line('g FETCH 1 (BODY.PEEK[] BODY.PEEK[TEXT])');
  slow.socket.pause();
  const end = Date.now() + 5_000;
  while (server.imap.connections > 0 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(server.imap.connections, 0);
  slow.destroy();
});
