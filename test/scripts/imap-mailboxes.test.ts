// CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, LIST, LSUB, STATUS.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { ImapClient, play } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const LOGIN = 'C: l LOGIN ana@example.test secret\n    S~ ^l OK';
const MAIL = 'Subject: x\n\nx\n';

test('CREATE, LIST with CHILDREN, DELETE keeps what lies below', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a CREATE work.2026.
    S: a OK Create completed
    C: b CREATE work.2026
    S~ ^b NO \[ALREADYEXISTS\]
    C: c CREATE INBOX
    S~ ^c NO \[ALREADYEXISTS\]
    C: d LIST "" *
    S: * LIST (\HasNoChildren) "." INBOX
    S: * LIST (\HasChildren) "." work
    S: * LIST (\HasNoChildren) "." work.2026
    S: d OK List completed
    C: e DELETE work
    S: e OK Delete completed
    C: f LIST "" "*"
    S: * LIST (\HasNoChildren) "." INBOX
    S: * LIST (\Noselect \HasChildren) "." work
    S: * LIST (\HasNoChildren) "." work.2026
    S: f OK List completed
    C: g SELECT work
    S~ ^g NO \[
    C: h DELETE INBOX
    S~ ^h NO \[CANNOT\]
    C: i DELETE nosuch
    S~ ^i NO \[NONEXISTENT\]
    C: j LIST "" ""
    S: * LIST (\Noselect) "." ""
    S: j OK List completed
    C: k LIST "" %
    S: * LIST (\HasNoChildren) "." INBOX
    S: * LIST (\Noselect \HasChildren) "." work
    S: k OK List completed
    C: m LIST work. %
    S: * LIST (\HasNoChildren) "." work.2026
    S: m OK List completed
    C: n LIST "" (iNbOx wor%.*)
    S: * LIST (\HasNoChildren) "." INBOX
    S: * LIST (\HasNoChildren) "." work.2026
    S: n OK List completed
  `,
  );
});

test('row 31: names that could leave the account or be ambiguous are NO [CANNOT], and nothing is made', async (t) => {
  const server = await ImapTestServer.start(t);
  const names = [
    '../../x',
    'a/../b',
    '"a..b"',
    '".a"',
    '"a "',
    '"a&AAA-"',
    '"&Jjo"',
    '"&AGE-"',
    '"a&-&-b&"',
    '"a*"',
    '"x\\\\y"',
    '"caf\xe9"',
    'b&AAoACg-',
  ];
  const client = await ImapClient.connect(server.port);
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  for (const [i, name] of names.entries()) {
    for (const command of ['CREATE', 'RENAME INBOX', 'SUBSCRIBE']) {
      const [answer] = await client.command(`t${i}`, `${command} ${name}`);
      assert.match(
        answer ?? '',
        command === 'SUBSCRIBE' ? /^t\d+ NO \[(CANNOT|NONEXISTENT)\]/ : /^t\d+ NO \[CANNOT\]/,
        `${command} ${name}`,
      );
    }
  }
  assert.match((await client.command('n1', 'CREATE caf&AOk-')).join(), /OK/);
  // The same name, decomposed.
  assert.match((await client.command('n2', 'CREATE cafe&AwE-')).join(), /n2 NO \[ALREADYEXISTS\]/);
  client.line('z CREATE {3}');
  await client.response();
  client.send('a\0b\r\n');
  assert.match(await client.response(), /^z BAD/);
  client.destroy();
  const made = (await readdir(server.folder)).concat(await readdir(server.auth.account('ana@example.test').home));
  assert.deepEqual(
    made.filter((name) => !['ana@example.test', 'cur', 'new', 'tmp', '.caf&AOk-', 'spool'].includes(name)),
    [],
  );
});

test('RENAME of a tree, of INBOX, onto itself, of the selected mailbox', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a CREATE a.b
    S~ ^a OK
    C: b RENAME a z.y
    S~ ^b OK
    C: c LIST "" *
    S~ INBOX$
    S: * LIST (\HasChildren) "." z
    S: * LIST (\HasChildren) "." z.y
    S: * LIST (\HasNoChildren) "." z.y.b
    S~ ^c OK
    C: d RENAME nosuch other
    S~ ^d NO \[NONEXISTENT\]
    C: e RENAME z z.below
    S~ ^e NO \[CANNOT\]
    C: f RENAME INBOX old
    S~ ^f OK
    C: g STATUS old (MESSAGES)
    S: * STATUS old (MESSAGES 2)
    S~ ^g OK
    C: h STATUS INBOX (MESSAGES UIDNEXT)
    S: * STATUS INBOX (MESSAGES 0 UIDNEXT 3)
    S~ ^h OK
    C: i SELECT old
    S* ^i OK
    C: j RENAME old older
    S: * OK [CLOSED] The selected mailbox is no longer there
    S~ ^j OK
    C: k FETCH 1 UID
    S: k BAD No mailbox is selected
    C: m SELECT older
    S* ^m OK
    C: n DELETE older
    S: * OK [CLOSED] The selected mailbox is no longer there
    S~ ^n OK
    C: o NOOP
    S~ ^o OK
  `,
  );
});

test('SUBSCRIBE, LSUB with %, names that are gone', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a CREATE a.b.c
    S~ ^a OK
    C: b SUBSCRIBE a.b.c
    S~ ^b OK
    C: c SUBSCRIBE nosuch
    S~ ^c NO \[NONEXISTENT\]
    C: d SUBSCRIBE inbox
    S~ ^d OK
    C: e LSUB "" *
    S: * LSUB () "." INBOX
    S: * LSUB () "." a.b.c
    S~ ^e OK
    C: f LSUB "" %
    S: * LSUB () "." INBOX
    S: * LSUB (\Noselect) "." a
    S~ ^f OK
    C: g LSUB "" a.%
    S: * LSUB (\Noselect) "." a.b
    S~ ^g OK
    C: h DELETE a.b.c
    S~ ^h OK
    C: i LSUB "" a*
    S: * LSUB (\Noselect) "." a.b.c
    S~ ^i OK
    C: j LIST "" a.b.c
    S~ ^j OK
    C: k LIST (SUBSCRIBED) "" *
    S: * LIST (\HasNoChildren \Subscribed) "." INBOX
    S: * LIST (\NonExistent \HasNoChildren \Subscribed) "." a.b.c
    S~ ^k OK
    C: m UNSUBSCRIBE a.b.c
    S~ ^m OK
    C: n LSUB "" a*
    S~ ^n OK
  `,
  );
});

test('SPECIAL-USE (RFC 6154): attributes, selection and return options', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a CREATE Sent
    S~ ^a OK
    C: b CREATE other
    S~ ^b OK
    C: c LIST "" *
    S: * LIST (\HasNoChildren) "." INBOX
    S: * LIST (\HasNoChildren \Sent) "." Sent
    S: * LIST (\HasNoChildren) "." other
    S~ ^c OK
    C: d LIST (SPECIAL-USE) "" *
    S: * LIST (\HasNoChildren \Sent) "." Sent
    S~ ^d OK
    C: e LIST "" % RETURN (SPECIAL-USE CHILDREN)
    S* \\Sent
    S* ^e OK
    C: f LIST (NOSUCH) "" *
    S: f BAD Unknown LIST option
    C: g LIST "" * RETURN (NOSUCH)
    S: g BAD Unknown LIST option
    C: h LIST () "" Sent
    S~ Sent$
    S~ ^h OK
  `,
  );
});

test('STATUS: every item; a missing mailbox; unknown items', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a STATUS inbox (MESSAGES RECENT UIDNEXT UNSEEN)
    S: * STATUS INBOX (MESSAGES 3 RECENT 3 UIDNEXT 4 UNSEEN 3)
    S~ ^a OK
    C: b SELECT INBOX
    S* ^b OK
    C: c STORE 1 FLAGS.SILENT (\Seen)
    S~ ^c OK
    C: d STATUS INBOX (UNSEEN RECENT UIDVALIDITY)
    S~ ^\* STATUS INBOX \(UNSEEN 2 RECENT 0 UIDVALIDITY \d+\)$
    S~ ^d OK
    C: e STATUS nosuch (MESSAGES)
    S~ ^e NO \[NONEXISTENT\]
    C: f STATUS INBOX (SIZE)
    S: f BAD Unknown STATUS item
    C: g STATUS INBOX ()
    S: g BAD Expected STATUS items
  `,
  );
});

test('a namespace with / and a prefix', async (t) => {
  const server = await ImapTestServer.start(t, { namespace: { separator: '/', prefix: 'INBOX/' } });
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a NAMESPACE
    S: * NAMESPACE (("INBOX/" "/")) NIL NIL
    S~ ^a OK
    C: b CREATE inbox/a/b
    S~ ^b OK
    C: c LIST "" *
    S: * LIST (\HasNoChildren) "/" INBOX
    S: * LIST (\HasChildren) "/" INBOX/a
    S: * LIST (\HasNoChildren) "/" INBOX/a/b
    S~ ^c OK
    C: d CREATE outside
    S~ ^d NO \[CANNOT\]
    C: e SELECT INBOX/a/b
    S* ^e OK
    C: f STATUS "INBOX/a" (MESSAGES)
    S: * STATUS INBOX/a (MESSAGES 0)
    S~ ^f OK
    C: g LIST INBOX/ %
    S: * LIST (\HasChildren) "/" INBOX/a
    S~ ^g OK
  `,
  );
});

test('names in modified UTF-7 go there and back', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    ${LOGIN}
    C: a CREATE "Papelera &AOE-&-x y"
    S~ ^a OK
    C: b LIST "" P*
    S: * LIST (\HasNoChildren) "." "Papelera &AOE-&-x y"
    S~ ^b OK
    C: c SELECT "Papelera &AOE-&-x y"
    S* ^c OK
  `,
  );
});
