// Debian's reading programs against the running server: curl, getmail, fetchmail, mutt, Python's imaplib, and imapflow.
import assert from 'node:assert/strict';
import { appendFile, chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { ImapFlow } from 'imapflow';
import { startMailHost, TREE_OWNER, type MailHost } from '../support/mail-host.ts';
import { deliverBySmtp } from '../support/smtp-send.ts';
import { requireProgram, run } from '../support/programs.ts';

const USERS = Object.fromEntries(
  ['curl', 'getmail', 'fetchmail', 'mutt', 'imaplib', 'imapflow'].map((u) => [`${u}@example.test`, `${u}-secret`]),
);
let host: MailHost;
before(async () => {
  host = await startMailHost({ users: USERS });
  for (const address of Object.keys(USERS))
    for (const n of [1, 2, 3])
      await deliverBySmtp(host.ports.smtp, {
        from: 'eva@remote.test',
        to: [address],
        data: `From: Eva <eva@remote.test>\r\nTo: ${address}\r\nSubject: mail ${n}\r\nMessage-ID: <${n}.${address}>\r\n\r\nbody ${n} of ${address}\r\n`,
      });
});
after(async () => host?.[Symbol.asyncDispose]());

test('curl lists, searches, fetches a message and a section, and appends', async (t) => {
  const curl = await requireProgram(t, 'curl');
  if (curl === undefined) return;
  const base = ['--silent', '--show-error', '--max-time', '20', '--cacert', host.ca, '--user', 'curl@example.test:curl-secret'];
  const ask = async (url: string, ...more: string[]): Promise<string> => {
    const result = await run(curl, [...base, ...more, url]);
    assert.equal(result.status, 0, result.stderr);
    return result.stdout;
  };
  const root = `imaps://localhost:${host.ports.imaps}`;
  assert.match(await ask(root), /\* LIST \(.*\) "\." INBOX/);
  assert.match(await ask(`${root}/INBOX?SUBJECT%20%22mail%202%22`), /\* SEARCH 2\r?\n/);
  assert.match(await ask(`${root}/INBOX;UID=2`), /Subject: mail 2\r\n[^]*\r\n\r\nbody 2 of curl@example\.test\r\n$/);
  assert.equal(await ask(`${root}/INBOX;UID=3;SECTION=TEXT`), 'body 3 of curl@example.test\r\n');
  await writeFile(join(host.directory, 'up.eml'), 'Subject: uploaded\r\n\r\nby curl\r\n');
  await ask(`${root}/INBOX`, '--upload-file', join(host.directory, 'up.eml'));
  assert.match(await ask(`imap://localhost:${host.ports.imap}/INBOX;UID=4`, '--ssl-reqd'), /Subject: uploaded/);
});

test('getmail fetches everything into a Maildir', async (t) => {
  const getmail = await requireProgram(t, 'getmail');
  if (getmail === undefined) return;
  const directory = join(host.directory, 'getmail');
  for (const sub of ['cur', 'new', 'tmp']) await mkdir(join(directory, 'mail', sub), { recursive: true });
  await writeFile(
    join(directory, 'getmailrc'),
    `[retriever]\ntype = SimpleIMAPSSLRetriever\nserver = localhost\nport = ${host.ports.imaps}\nusername = getmail@example.test\npassword = getmail-secret\nca_certs = ${host.ca}\n[destination]\ntype = Maildir\npath = ${directory}/mail/\n[options]\nread_all = true\ndelete = true\n`,
  );
  // getmail refuses to deliver as root.
  if (TREE_OWNER) await run('/bin/chown', ['-R', `${TREE_OWNER.uid}:${TREE_OWNER.gid}`, directory]);
  const result = await run(getmail, [`--getmaildir=${directory}`], { env: { ...process.env, HOME: directory }, ...TREE_OWNER });
  assert.equal(result.status, 0, result.stdout + result.stderr);
  const names = await readdir(join(directory, 'mail', 'new'));
  assert.equal(names.length, 3, result.stdout + result.stderr);
  assert.equal((await host.inbox('getmail@example.test')).length, 0, 'getmail deleted what it took');
});

test('fetchmail fetches everything and hands it to a program', async (t) => {
  const fetchmail = await requireProgram(t, 'fetchmail');
  if (fetchmail === undefined) return;
  const rc = join(host.directory, 'fetchmailrc');
  const target = join(host.directory, 'fetched');
  await writeFile(
    rc,
    `poll localhost service ${host.ports.imaps} protocol IMAP user "fetchmail@example.test" password "fetchmail-secret" ssl sslcertck sslcertfile "${host.ca}" fetchall keep mda "cat >> ${target}"\n`,
  );
  await chmod(rc, 0o600);
  const result = await run(
    fetchmail,
    ['-f', rc, '--nosyslog', '--pidfile', join(host.directory, 'fetchmail.pid'), '-i', join(host.directory, 'fetchids')],
    {
      env: { ...process.env, HOME: host.directory, FETCHMAIL_DISABLE_CBC_IV_COUNTERMEASURE: '' },
    },
  );
  assert.equal(result.status, 0, result.stdout + result.stderr);
  const text = await readFile(target, 'utf8');
  for (const n of [1, 2, 3]) assert.match(text, new RegExp(`body ${n} of fetchmail@example\\.test`));
});

test('mutt opens the mailbox over TLS, reads a message and flags it', async (t) => {
  const mutt = await requireProgram(t, 'mutt');
  const script = await requireProgram(t, 'script');
  if (mutt === undefined || script === undefined) return;
  const muttrc = join(host.directory, 'muttrc-read');
  const copy = join(host.directory, 'mutt-copy');
  // Without its folder mutt asks first, and the question eats the keys.
  await mkdir(join(host.directory, 'Mail'), { recursive: true });
  await writeFile(
    muttrc,
    `set imap_user="mutt@example.test"\nset imap_pass="mutt-secret"\nset certificate_file=${host.ca}\nset wait_key=no\nset quit=yes\nset confirmappend=no\nset mail_check=1\n`,
  );
  const keys = `<first-entry><next-entry><flag-message><first-entry><next-entry><pipe-message>cat > ${copy}<enter><sync-mailbox><quit>`;
  await appendFile(muttrc, `push "${keys}"\n`);
  const command = `${mutt} -n -F ${muttrc} -f imaps://localhost:${host.ports.imaps}/INBOX < /dev/tty`;
  const result = await run(script, ['-qec', command, '/dev/null'], {
    env: { ...process.env, HOME: host.directory, TERM: 'xterm', LINES: '40', COLUMNS: '100' },
    timeoutMs: 40_000,
  });
  assert.equal(result.status, 0, result.stdout.slice(-2000));
  assert.match(await readFile(copy, 'utf8'), /body [123] of mutt@example\.test/);
  const names = await host.names('mutt@example.test', 'cur');
  assert.equal(names.filter((name) => /:2,[A-Z]*F/.test(name)).length, 1, names.join(' '));
});

test("Python's imaplib logs in, searches, stores, copies, expunges", async (t) => {
  const python = await requireProgram(t, 'python3');
  if (python === undefined) return;
  const program = `
import imaplib, ssl, sys
context = ssl.create_default_context(cafile=sys.argv[2])
m = imaplib.IMAP4('127.0.0.1', int(sys.argv[1]))
assert 'LOGINDISABLED' not in m.capabilities or True
context.check_hostname = False
m.starttls(context)
m.login('imaplib@example.test', 'imaplib-secret')
assert m.select('INBOX')[1] == [b'3']
assert m.search(None, 'SUBJECT', '"mail 2"')[1] == [b'2']
assert m.create('Archivo')[0] == 'OK'
assert m.copy('1:2', 'Archivo')[0] == 'OK'
assert m.store('1', '+FLAGS', '(\\\\Deleted)')[0] == 'OK'
assert m.expunge()[1] == [b'1']
typ, data = m.fetch('1', '(UID FLAGS BODY.PEEK[])')
assert b'UID 2' in data[0][0] and b'body 2' in data[0][1], data
assert m.append('Archivo', '(\\\\Seen)', None, b'Subject: x\\r\\n\\r\\nappended\\r\\n')[0] == 'OK'
assert m.select('Archivo')[1] == [b'3']
assert m.uid('SEARCH', None, 'SEEN')[1] == [b'3']
m.close(); m.logout()
print('done')
`;
  const result = await run(python, ['-c', program, String(host.ports.imap), host.ca]);
  assert.equal(result.stdout.trim(), 'done', result.stderr);
});

test('imapflow reads, moves, and hears of new mail in IDLE', async () => {
  const client = new ImapFlow({
    host: '127.0.0.1',
    port: host.ports.imaps,
    secure: true,
    tls: { rejectUnauthorized: false },
    auth: { user: 'imapflow@example.test', pass: 'imapflow-secret' },
    logger: false,
  });
  await client.connect();
  const lock = await client.getMailboxLock('INBOX');
  try {
    const all = await client.fetchAll('1:*', { uid: true, envelope: true, bodyStructure: true, source: true });
    assert.deepEqual(
      all.map((m) => m.envelope?.subject),
      ['mail 1', 'mail 2', 'mail 3'],
    );
    assert.equal(all[0]?.bodyStructure?.type, 'text/plain');
    await client.mailboxCreate('Proyecto ñ');
    const moved = await client.messageMove('1', 'Proyecto ñ');
    assert.ok(moved && moved.uidMap?.size === 1);
    const exists = new Promise<number>((resolve) => client.once('exists', (e: { count: number }) => resolve(e.count)));
    const idle = client.idle();
    await deliverBySmtp(host.ports.smtp, { from: '', to: ['imapflow@example.test'], data: 'Subject: news\r\n\r\nnew\r\n' });
    assert.equal(await exists, 3);
    await client.noop();
    await idle;
  } finally {
    lock.release();
    await client.logout();
  }
});
