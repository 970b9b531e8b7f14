// Session: greeting, capabilities, log-in, states, ID, ENABLE, NAMESPACE, LOGOUT.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ImapClient, play } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const MAIL = 'From: Bob <bob@example.org>\nTo: ana@example.test\nSubject: one\n\nHello\n';
const LOGIN = 'C: l LOGIN ana@example.test secret\n    S~ ^l OK';

test('log in, select, fetch, log out', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL);
  await play(
    server.port,
    String.raw`
    C: a1 CAPABILITY
    S: * CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN
    S: a1 OK Capability completed
    C: a2 LOGIN ana@example.test secret
    S: a2 OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE] Logged in
    C: a3 SELECT inbox
    S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
    S: * OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft \*)] Flags permitted
    S: * 1 EXISTS
    S: * 1 RECENT
    S: * OK [UNSEEN 1] First unseen
    S~ \* OK \[UIDVALIDITY [1-9]\d*\] UIDs valid
    S: * OK [UIDNEXT 2] Predicted next UID
    S: a3 OK [READ-WRITE] Select completed
    C: a4 FETCH 1 (FLAGS BODY[TEXT])
    S: * 1 FETCH (FLAGS (\Seen \Recent) BODY[TEXT] {7}\r\nHello\r\n)
    S: a4 OK Fetch completed
    C: a5 LOGOUT
    S: * BYE Logging out
    S: a5 OK Logout completed
    S.
  `,
  );
});

test('the greeting tells the capabilities', async (t) => {
  const server = await ImapTestServer.start(t);
  const client = await ImapClient.connect(server.port);
  assert.equal(
    await client.response(),
    '* OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN] mail.example.test Buzon ready',
  );
  client.destroy();
});

test('LOGIN: wrong password, our own fault, throttling', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C: a LOGIN ana@example.test wrong
    S: a NO [AUTHENTICATIONFAILED] Authentication failed
    C: b LOGIN ana@example.test busy
    S: b NO [UNAVAILABLE] Authentication is not possible at the moment
    C: c LOGIN ana@example.test
    S: c BAD Expected a space
    C: d LOGIN {16}
    S~ ^\+
    C: ana@example.test {6}
    S~ ^\+
    C: secret
    S~ ^d OK \[CAPABILITY
    C: e LOGIN ana@example.test secret
    S: e BAD Already logged in
    2C: a LOGIN ana@example.test storm
    2S: * BYE Too many failed log-ins
    2S.
  `,
  );
});

test('SASL-IR: AUTHENTICATE PLAIN with, without and with an empty initial response; cancelled; malformed', async (t) => {
  const server = await ImapTestServer.start(t, { mechanisms: ['PLAIN', 'X-DATA', 'X-LOOP'] });
  const plain = (password: string): string => Buffer.from(`\0ana@example.test\0${password}`).toString('base64');
  await play(
    server.port,
    String.raw`
    C: a AUTHENTICATE PLAIN ${plain('wrong')}
    S: a NO [AUTHENTICATIONFAILED] Authentication failed
    C: b AUTHENTICATE NOSUCH
    S: b NO [CANNOT] Unknown mechanism
    C: c AUTHENTICATE PLAIN
    S: + ${''}
    C: *
    S: c BAD Authentication cancelled
    C: d AUTHENTICATE PLAIN =
    S: d BAD Malformed authentication response
    C: e AUTHENTICATE PLAIN %%%
    S: e BAD Invalid base64
    C: f AUTHENTICATE PLAIN
    S: + ${''}
    C: not base64
    S: f BAD Invalid base64
    C: g AUTHENTICATE X-LOOP
    ${Array.from({ length: 10 }, (_, i) => `S: + ${Buffer.from(`round ${i + 1}`).toString('base64')}\n    C: AAAA`).join('\n    ')}
    S: g BAD Too many steps
    C: h authenticate plain
    S: + ${''}
    C: ${plain('secret')}
    S~ ^h OK \[CAPABILITY .*\] Logged in
    2C: a AUTHENTICATE PLAIN ${plain('secret')}
    2S~ ^a OK
    3C: a AUTHENTICATE X-DATA ${Buffer.from('ana@example.test').toString('base64')}
    3S: + ${Buffer.from('server proof').toString('base64')}
    3C:${' '}
    3S~ ^a OK
  `,
  );
});

test('row 34: off loopback without TLS no password is taken, nor announced', async (t) => {
  const server = await ImapTestServer.start(t, { remoteAddress: '192.0.2.1' });
  await play(
    server.port,
    String.raw`
    C: a CAPABILITY
    S: * CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE LOGINDISABLED
    S: a OK Capability completed
    C: b LOGIN ana@example.test secret
    S: b NO [PRIVACYREQUIRED] Use STARTTLS first
    C: c AUTHENTICATE PLAIN AGFuYQBzZWNyZXQ=
    S: c NO [PRIVACYREQUIRED] Use STARTTLS first
    C: d SELECT INBOX
    S: d BAD Log in first
  `,
  );
});

test('commands out of their state, unknown ones, bad tags', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C: a SELECT INBOX
    S: a BAD Log in first
    C: b NOSUCH
    S: b BAD Unknown command
    C: + NOOP
    S: * BAD Expected a tag
    C: c
    S: c BAD Expected a space
    C: d NOOP more
    S: d BAD Unexpected text after the arguments
    C: constructor __proto__
    S: constructor BAD Expected a word
    C: e toString
    S: e BAD Unknown command
    ${LOGIN}
    C: f FETCH 1 FLAGS
    S: f BAD No mailbox is selected
    C: g STARTTLS
    S: g BAD Already logged in
    C: h UID NOSUCH
    S: h BAD Unknown command
    C: i noop
    S: i OK NOOP completed
  `,
  );
});

test('too many bad commands end the session', async (t) => {
  const server = await ImapTestServer.start(t, { limits: { badCommands: 3 } });
  await play(
    server.port,
    String.raw`
    C: a X
    S~ ^a BAD
    C: b X
    S~ ^b BAD
    C: c X
    S~ ^c BAD
    S: * BYE Too many invalid commands
    S.
    ${LOGIN.replaceAll(/^( *)([CS])/gm, '$12$2')}
    2C: a X
    2S~ ^a BAD
    2C: b X
    2S~ ^b BAD
    2C: ok NOOP
    2S~ ^ok OK
    2C: c X
    2S~ ^c BAD
    2C: d NOOP
    2S~ ^d OK
  `,
  );
});

test('ID (RFC 2971), ENABLE (RFC 5161), NAMESPACE (RFC 2342)', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C: a ID NIL
    S: * ID ("name" "Buzon")
    S: a OK ID completed
    C: b ID ("name" "mutt" "version" NIL "evil" "a b")
    S~ ^\* ID
    S: b OK ID completed
    C: c ID ("name")
    S~ ^c BAD
    C: d ID (${Array.from({ length: 31 }, (_, i) => `"k${i}" "v"`).join(' ')})
    S: d BAD Too much in ID
    C: e ENABLE CONDSTORE
    S: e BAD Log in first
    C: f NAMESPACE
    S: f BAD Log in first
    ${LOGIN}
    C: g ENABLE UTF8=ACCEPT X-NOSUCH
    S: * ENABLED
    S: g OK Enable completed
    C: h ENABLE
    S~ ^h BAD
    C: i NAMESPACE
    S: * NAMESPACE (("" ".")) NIL NIL
    S: i OK Namespace completed
  `,
  );
  const logged = server.events.find((event) => event.event === 'imap.id' && event['name'] === 'mutt');
  assert.ok(logged, 'the client names itself in the log');
});

test('pipelined commands are answered in order', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    C| a LOGIN ana@example.test secret\r\nb SELECT INBOX\r\nc FETCH 1:2 UID\r\nd NOOP\r\n
    S~ ^a OK
    S* ^b OK
    S: * 1 FETCH (UID 1)
    S: * 2 FETCH (UID 2)
    S: c OK Fetch completed
    S: d OK NOOP completed
  `,
  );
});
