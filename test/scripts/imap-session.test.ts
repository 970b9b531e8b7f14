import { test } from 'node:test';
import { ImapTestServer } from '../support/imap-server.ts';
import { play } from '../support/imap-script.ts';

const MAIL = 'From: Bob <bob@example.org>\nTo: ana@example.test\nSubject: one\n\nHello\n';

test('log in, select, fetch, log out', async (t) => {
  const server = await ImapTestServer.start(t);
  await server.deliver(MAIL);
  await play(
    server.port,
    `
    C: a1 CAPABILITY
    S: * CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE AUTH=PLAIN
    S: a1 OK Capability completed
    C: a2 LOGIN ana@example.test secret
    S: a2 OK [CAPABILITY IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS MOVE UNSELECT CHILDREN SPECIAL-USE] Logged in
    C: a3 SELECT inbox
    S: * FLAGS (\\\\Answered \\\\Flagged \\\\Deleted \\\\Seen \\\\Draft)
    S: * OK [PERMANENTFLAGS (\\\\Answered \\\\Flagged \\\\Deleted \\\\Seen \\\\Draft \\\\*)] Flags permitted
    S: * 1 EXISTS
    S: * 1 RECENT
    S: * OK [UNSEEN 1] First unseen
    S~ \\* OK \\[UIDVALIDITY [1-9]\\d*\\] UIDs valid
    S: * OK [UIDNEXT 2] Predicted next UID
    S: a3 OK [READ-WRITE] Select completed
    C: a4 FETCH 1 (FLAGS BODY[TEXT])
    S: * 1 FETCH (FLAGS (\\\\Seen \\\\Recent) BODY[TEXT] {7}\\r\\nHello\\r\\n)
    S: a4 OK Fetch completed
    C: a5 LOGOUT
    S: * BYE Logging out
    S: a5 OK Logout completed
    S.
  `,
  );
});
