// STORE, EXPUNGE, UID EXPUNGE, CLOSE, UNSELECT, COPY, MOVE, and what other sessions are told.
import { test } from 'node:test';
import { play } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const IN = (box = 'INBOX', command = 'SELECT'): string =>
  `C: l LOGIN ana@example.test secret\n    S~ ^l OK\n    C: s ${command} ${box}\n    S* ^s OK`;
const second = (script: string): string => script.replaceAll(/^( *)([CS])/gm, '$12$2');
const MAIL = 'Subject: x\n\nx\n';

test('STORE: replace, add, remove, .SILENT, keywords', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    ${IN()}
    C: a STORE 1 FLAGS (\seen \FLAGGED)
    S: * 1 FETCH (FLAGS (\Flagged \Seen \Recent))
    S~ ^a OK
    C: b UID STORE 1:2 +FLAGS (\Answered work)
    S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft work)
    S~ ^\* OK \[PERMANENTFLAGS \(.* work \\\*\)\]
    S: * 1 FETCH (UID 1 FLAGS (\Flagged \Answered \Seen work \Recent))
    S: * 2 FETCH (UID 2 FLAGS (\Answered work \Recent))
    S~ ^b OK
    C: c STORE 1 -FLAGS \Flagged \Answered
    S: * 1 FETCH (FLAGS (\Seen work \Recent))
    S~ ^c OK
    C: d STORE 1 +FLAGS.SILENT (\Draft)
    S: d OK Store completed
    C: e NOOP
    S: e OK NOOP completed
    C: f FETCH 1 FLAGS
    S: * 1 FETCH (FLAGS (\Draft \Seen work \Recent))
    S~ ^f OK
    C: g STORE 1 FLAGS ()
    S: * 1 FETCH (FLAGS (\Recent))
    S~ ^g OK
    C: h STORE 1 +FLAGS (\Recent)
    S: h BAD Unknown system flag
    C: i STORE 1 +FLAGS (\Nosuch)
    S: i BAD Unknown system flag
    C: j STORE 1 FLAGGED (\Seen)
    S: j BAD Expected FLAGS or FLAGS.SILENT
    C: k STORE 9 FLAGS (\Seen)
    S: k BAD [CLIENTBUG] No such message
    C: m UID STORE 9 FLAGS (\Seen)
    S: m OK Store completed
    C: n EXAMINE INBOX
    S* ^n OK \[READ-ONLY\]
    C: o STORE 1 FLAGS (\Seen)
    S~ ^o NO \[NOPERM\]
    C: p EXPUNGE
    S~ ^p NO \[NOPERM\]
  `,
  );
});

test('the 27th keyword: refused with [LIMIT], \\* leaves PERMANENTFLAGS', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL);
  const keywords = Array.from({ length: 26 }, (_, i) => `k${i}`).join(' ');
  await play(
    server.port,
    String.raw`
    ${IN()}
    C: a STORE 1 +FLAGS.SILENT (${keywords})
    S* ^a OK
    C: b STORE 1 +FLAGS.SILENT (onemore)
    S~ ^b NO \[LIMIT\]
    C: c SELECT INBOX
    S! PERMANENTFLAGS .*\\\*
    S* ^c OK
  `,
  );
});

test('changes of one session reach the other: flags and EXISTS at any command, EXPUNGE not with FETCH, STORE, SEARCH', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    ${IN()}
    ${second(IN())}
    2C: a STORE 3 +FLAGS (\Flagged)
    2S* ^a OK
    C: b NOOP
    S: * 3 FETCH (UID 3 FLAGS (\Flagged \Recent))
    S~ ^b OK
    2C: c STORE 1 +FLAGS.SILENT (\Deleted)
    2S* ^c OK
    2C: d EXPUNGE
    2S: * 1 EXPUNGE
    2S~ ^d OK
    2C: e STORE 2 +FLAGS.SILENT (\Answered)
    2S* ^e OK
    C: f SEARCH FLAGGED
    S: * SEARCH 3
    S: * 3 FETCH (UID 3 FLAGS (\Flagged \Answered \Recent))
    S~ ^f OK
    C: g FETCH 2 UID
    S: * 2 FETCH (UID 2)
    S~ ^g OK
    C: h UID FETCH 2 FLAGS
    S~ ^\* 2 FETCH \(UID 2
    S: * 1 EXPUNGE
    S~ ^h OK
    C: i FETCH 2 UID
    S: * 2 FETCH (UID 3)
    S~ ^i OK
  `,
  );
});

test('.SILENT hides our own change only', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL);
  await play(
    server.port,
    String.raw`
    ${IN()}
    ${second(IN())}
    2C: a STORE 1 +FLAGS (\Flagged)
    2S* ^a OK
    C: b STORE 1 +FLAGS.SILENT (\Seen)
    S: * 1 FETCH (UID 1 FLAGS (\Flagged \Recent))
    S~ ^b OK
    2C: c NOOP
    2S: * 1 FETCH (UID 1 FLAGS (\Flagged \Seen))
    2S~ ^c OK
  `,
  );
});

test('EXPUNGE numbers, UID EXPUNGE (RFC 4315), CLOSE in silence, UNSELECT without', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL, MAIL, MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    ${IN()}
    C: a STORE 1,3,4 +FLAGS.SILENT (\Deleted)
    S* ^a OK
    C: b UID EXPUNGE 2:3
    S: * 3 EXPUNGE
    S~ ^b OK
    C: c EXPUNGE
    S: * 3 EXPUNGE
    S: * 1 EXPUNGE
    S~ ^c OK
    C: d UID FETCH 1:* UID
    S: * 1 FETCH (UID 2)
    S: * 2 FETCH (UID 5)
    S~ ^d OK
    C: e STORE 1 +FLAGS.SILENT (\Deleted)
    S* ^e OK
    C: f UNSELECT
    S: f OK Unselect completed
    C: g UNSELECT
    S: g BAD No mailbox is selected
    C: h EXAMINE INBOX
    S: * FLAGS (\Answered \Flagged \Deleted \Seen \Draft)
    S: * OK [PERMANENTFLAGS ()] No permanent flags permitted
    S: * 2 EXISTS
    S* ^h OK
    C: i CLOSE
    S: i OK Close completed
    C: j SELECT INBOX
    S* ^\* 2 EXISTS
    S* ^j OK
    C: k CLOSE
    S: k OK Close completed
    C: m STATUS INBOX (MESSAGES)
    S: * STATUS INBOX (MESSAGES 1)
    S~ ^m OK
    C: n SELECT INBOX
    S* ^n OK
    C: o CHECK
    S: o OK Check completed
    C: p SELECT nosuch
    S: * OK [CLOSED] Previous mailbox closed
    S~ ^p NO \[NONEXISTENT\]
    C: q CHECK
    S: q BAD No mailbox is selected
  `,
  );
});

test('UIDPLUS: COPY with COPYUID, flags kept; TRYCREATE', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    ${IN()}
    C: a STORE 2 +FLAGS.SILENT (\Flagged job)
    S* ^a OK
    C: b COPY 1:3 nosuch
    S~ ^b NO \[TRYCREATE\]
    C: c UID COPY 99 nosuch
    S~ ^c NO \[TRYCREATE\]
    C: d CREATE kept
    S~ ^d OK
    C: e COPY 3,1:2 kept
    S~ ^e OK \[COPYUID \d+ 1:3 1:3\] Copy completed
    C: f UID COPY 2 kept
    S~ ^f OK \[COPYUID \d+ 2 4\]
    C: g UID COPY 99 kept
    S: g OK No messages found
    C: h COPY 9 kept
    S: h BAD [CLIENTBUG] No such message
    C: i COPY 1 INBOX
    S: * 4 EXISTS
    S* ^i OK \[COPYUID \d+ 1 4\]
    C: j SELECT kept
    S* ^\* 4 EXISTS
    S* ^j OK
    C: k FETCH 2,4 FLAGS
    S~ ^\* 2 FETCH \(FLAGS \(\\Flagged job
    S~ ^\* 4 FETCH \(FLAGS \(\\Flagged job
    S* ^k OK
  `,
  );
});

test('MOVE (RFC 6851): COPYUID, then EXPUNGE, then OK', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL, MAIL, MAIL);
  await play(
    server.port,
    String.raw`
    ${IN()}
    C: a CREATE box
    S~ ^a OK
    C: b MOVE 1,3 box
    S~ ^\* OK \[COPYUID \d+ 1,3 1:2\]
    S: * 3 EXPUNGE
    S: * 1 EXPUNGE
    S: b OK Move completed
    C: c UID MOVE 2 nosuch
    S~ ^c NO \[TRYCREATE\]
    C: d UID MOVE 2 box
    S~ ^\* OK \[COPYUID \d+ 2 3\]
    S: * 1 EXPUNGE
    S: d OK Move completed
    C: e EXAMINE box
    S* ^\* 3 EXISTS
    S* ^e OK
    C: f MOVE 1 INBOX
    S~ ^f NO \[NOPERM\]
  `,
  );
});

test('a mailbox deleted under a session ends it with BYE', async (t) => {
  const server = await ImapTestServer.start(t);
  await play(
    server.port,
    String.raw`
    C: l LOGIN ana@example.test secret
    S~ ^l OK
    C: a CREATE doomed
    S~ ^a OK
    C: b SELECT doomed
    S* ^b OK
    2C: l LOGIN ana@example.test secret
    2S~ ^l OK
    2C: d DELETE doomed
    2S~ ^d OK
    C: n NOOP
    S* ^n OK
    S: * BYE The selected mailbox is gone
    S.
  `,
  );
});
