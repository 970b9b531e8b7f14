// MAIL and RCPT: addresses, parameters, who is taken and who is not.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { OutboundQueue, ReceivedMessage } from '../../src/delivery/types.ts';
import { MailError } from '../../src/lib/errors.ts';
import { playSmtp, SmtpClient } from '../support/smtp-script.ts';
import { SmtpTestServer, type KeptMessage } from '../support/smtp-server.ts';

const LONG = 'x'.repeat(256);

/** The reply to each command, in a transaction of its own where it is a RCPT. */
async function replies(server: SmtpTestServer, commands: readonly string[], sender = '<eva@remote.test>'): Promise<string[]> {
  const client = await SmtpClient.hello(server.port);
  const said: string[] = [];
  try {
    for (const command of commands) {
      await client.commands(['RSET', '250']);
      if (command.startsWith('RCPT')) await client.commands([`MAIL FROM:${sender}`, '250']);
      client.send(Buffer.from(`${command}\r\n`, 'utf8'));
      said.push(await client.reply());
    }
  } finally {
    client.destroy();
  }
  return said;
}
const takes = async (server: SmtpTestServer, commands: readonly string[], sender?: string): Promise<void> => {
  const said = await replies(server, commands, sender);
  for (const [i, reply] of said.entries()) assert.match(reply, /^250 2\.1\.[05] Ok$/, `${commands[i]}: ${reply}`);
};
const refuses = async (server: SmtpTestServer, table: Readonly<Record<string, string>>, sender?: string): Promise<void> => {
  const said = await replies(server, Object.keys(table), sender);
  for (const [i, [command, expected]] of Object.entries(table).entries())
    assert.ok(said[i]?.startsWith(`${expected} `), `${command}: ${said[i]}`);
};
const generous = { limits: { errors: 1_000 } };

test('senders that are taken: any syntax that senders really use', async (t) => {
  const server = await SmtpTestServer.start(t, generous);
  await takes(server, [
    'MAIL FROM:<>',
    'MAIL FROM:<eva@remote.test>',
    'MAIL FROM: <eva@remote.test>',
    'MAIL FROM:eva@remote.test',
    'MAIL FROM:<"eva s"@remote.test>',
    'MAIL FROM:<"a\\"b"@remote.test>',
    'MAIL FROM:<@one.test,@two.test:eva@remote.test>',
    'MAIL FROM:<eva@[192.0.2.1]>',
    'MAIL FROM:<eva@[IPv6:2001:db8::1]>',
    'MAIL FROM:<bounce+a=b.test@remote.test>',
    'MAIL FROM:<eva@xn--and-6ma2c.test>',
  ]);
});

test('senders that are refused', async (t) => {
  const server = await SmtpTestServer.start(t, generous);
  await refuses(server, {
    'MAIL FROM:<eva>': '553 5.1.7',
    'MAIL FROM:<eva@>': '501 5.1.7',
    'MAIL FROM:<@remote.test>': '501 5.1.7',
    'MAIL FROM:<eva@remote.test': '501 5.1.7',
    'MAIL FROM:': '501 5.1.7',
    'MAIL eva@remote.test': '501 5.5.4',
    'MAIL FROM:<a@b@remote.test>': '501 5.1.7',
    'MAIL FROM:<eva s@remote.test>': '501 5.1.7',
    'MAIL FROM:<eva@[300.0.2.1]>': '501 5.1.7',
    [`MAIL FROM:<${LONG}x@remote.test>`]: '501 5.1.7',
    'MAIL FROM:<eva@remote.test>SIZE=1': '501 5.5.4',
  });
});

test('SIZE: 552 5.3.4 at MAIL for what is too big; wrong values 501 5.5.4', async (t) => {
  const server = await SmtpTestServer.start(t, { limits: { errors: 1_000, messageSize: 1_000 } });
  await takes(server, ['MAIL FROM:<> SIZE=1000', 'MAIL FROM:<> size=0', 'MAIL FROM:<>  SIZE=1  BODY=7BIT ']);
  await refuses(server, {
    'MAIL FROM:<> SIZE=1001': '552 5.3.4',
    'MAIL FROM:<> SIZE=99999999999999999999': '552 5.3.4',
    'MAIL FROM:<> SIZE=-1': '501 5.5.4',
    'MAIL FROM:<> SIZE=1e3': '501 5.5.4',
    'MAIL FROM:<> SIZE=': '501 5.5.4',
    'MAIL FROM:<> SIZE': '501 5.5.4',
    'MAIL FROM:<> SIZE=1 SIZE=1': '501 5.5.4',
  });
});

test('8BITMIME: BODY is taken and handed on; other values are refused', async (t) => {
  const server = await SmtpTestServer.start(t, generous);
  await takes(server, ['MAIL FROM:<> BODY=8BITMIME', 'MAIL FROM:<> BODY=7BIT', 'MAIL FROM:<> body=8bitmime']);
  await refuses(server, {
    'MAIL FROM:<> BODY=BINARYMIME': '501 5.5.4',
    'MAIL FROM:<> BODY': '501 5.5.4',
    'MAIL FROM:<> BODY=9BIT': '501 5.5.4',
    'MAIL FROM:<> UNKNOWN=1': '555 5.5.4',
    'MAIL FROM:<> AUTH=eva+40remote.test AUTH=<>': '501 5.5.4',
    'MAIL FROM:<> AUTH=a+4': '501 5.5.4',
    'RCPT TO:<ana@example.test> SIZE=1': '555 5.5.4',
  });
  await takes(server, ['MAIL FROM:<> AUTH=<>', 'MAIL FROM:<> AUTH=eva+40remote.test']);
  await using client = await SmtpClient.hello(server.port);
  await client.commands(['MAIL FROM:<> BODY=8BITMIME', '250'], ['RCPT TO:<ana@example.test>', '250'], ['DATA', '354']);
  client.send(Buffer.from('Subject: ñ\r\n\r\nñandú\r\n.\r\n'));
  assert.match(await client.reply(), /^250/);
  assert.equal(server.messages[0]?.envelope.bodyType, '8BITMIME');
  assert.match(server.messages[0]?.text ?? '', /\r\n\r\nñandú\r\n$/);
});

test('SMTPUTF8: addresses and headers in UTF-8 with it, 553 5.6.7 to such addresses without', async (t) => {
  const server = await SmtpTestServer.start(t, generous);
  await refuses(server, {
    'MAIL FROM:<josé@remote.test>': '553 5.6.7',
    'MAIL FROM:<jose@ñandú.test>': '553 5.6.7',
    'MAIL FROM:<josé@remote.test> SMTPUTF8=1': '501 5.5.4',
    'RCPT TO:<ñandú@example.test>': '553 5.6.7',
  });
  await refuses(server, { 'RCPT TO:<jose\u0085@example.test>': '501 5.1.3' });
  await using client = await SmtpClient.hello(server.port);
  for (const line of ['MAIL FROM:<josé@ñandú.test> SMTPUTF8', 'RCPT TO:<ñandú@example.test>', 'RCPT TO:<nandù@example.test>'])
    client.send(Buffer.from(`${line}\r\n`));
  assert.match(await client.reply(), /^250/);
  assert.match(await client.reply(), /^250/);
  assert.match(await client.reply(), /^550 5\.1\.1 <nandù@example\.test>: Recipient address rejected: User unknown$/);
  await client.commands(['DATA', '354']);
  client.send(Buffer.from('From: José <josé@ñandú.test>\r\nSubject: ¡ñ!\r\n\r\nx\r\n.\r\n'));
  assert.match(await client.reply(), /^250/);
  const [message] = server.messages;
  assert.equal(message?.envelope.sender, 'josé@ñandú.test');
  assert.equal(message?.envelope.smtpUtf8, true);
  assert.match(message?.text ?? '', /with UTF8SMTP id \w+\r\n\tfor <ñandú@example\.test>;/);
  assert.match(message?.text ?? '', /\r\nSubject: ¡ñ!\r\n/);
  // Broken UTF-8 is no address.
  client.send('MAIL FROM:<jos\xe9@remote.test> SMTPUTF8\r\n');
  assert.match(await client.reply(), /^501 5\.5\.4/);
});

test('DSN: RET, ENVID, NOTIFY and ORCPT are read and handed on (RFC 3461)', async (t) => {
  const server = await SmtpTestServer.start(t, generous);
  await refuses(server, {
    'MAIL FROM:<> RET=ALL': '501 5.5.4',
    'MAIL FROM:<> ENVID': '501 5.5.4',
    'MAIL FROM:<> ENVID=a+0Ab': '501 5.5.4',
    [`MAIL FROM:<> ENVID=${'x'.repeat(101)}`]: '501 5.5.4',
    'RCPT TO:<ana@example.test> NOTIFY=NEVER,SUCCESS': '501 5.5.4',
    'RCPT TO:<ana@example.test> NOTIFY=': '501 5.5.4',
    'RCPT TO:<ana@example.test> ORCPT=ana@example.test': '501 5.5.4',
    'RCPT TO:<ana@example.test> ORCPT=rfc822;': '501 5.5.4',
    [`RCPT TO:<ana@example.test> ORCPT=rfc822;${'x'.repeat(500)}`]: '501 5.5.4',
  });
  await using client = await SmtpClient.hello(server.port);
  await client.commands(
    ['MAIL FROM:<eva@remote.test> RET=hdrs ENVID=QQ+2B1', '250'],
    ['RCPT TO:<ana@example.test> NOTIFY=SUCCESS,delay ORCPT=rfc822;Ana+40Example.test', '250'],
    ['RCPT TO:<info@example.test> NOTIFY=NEVER', '250'],
    ['BDAT 6 LAST\r\na: b', '250'],
  );
  const { envelope } = server.messages[0] as KeptMessage;
  assert.equal(envelope.ret, 'HDRS');
  assert.equal(envelope.envid, 'QQ+2B1');
  assert.deepEqual(
    envelope.recipients.map(({ notify, orcpt }) => ({ notify, orcpt })),
    [
      { notify: ['SUCCESS', 'DELAY'], orcpt: 'rfc822;Ana+40Example.test' },
      { notify: ['NEVER'], orcpt: undefined },
    ],
  );
});

test('recipients: extensions, quoted local parts, any case, postmaster and abuse of each domain, the bare postmaster', async (t) => {
  const server = await SmtpTestServer.start(t, {
    ...generous,
    virtualAliases: { 'sales@alias.test': 'info@example.test', 'list@example.test': 'ana@example.test, info@example.test' },
    aliases: { root: 'ana@example.test', cron: 'root' },
  });
  await takes(server, [
    'RCPT TO:<ana@example.test>',
    'RCPT TO:<ANA@Example.TEST>',
    'RCPT TO:<ana+shop@example.test>',
    'RCPT TO:<ana+a+b@example.test>',
    'RCPT TO:<"ana"@example.test>',
    'RCPT TO:<"a b"@example.test>',
    'RCPT TO:<"a b+x"@example.test>',
    'RCPT TO:<"ana+b c"@example.test>',
    'RCPT TO: ana@example.test',
    'RCPT TO:<postmaster>',
    'RCPT TO:<Postmaster>',
    'RCPT TO:<postmaster@example.test>',
    'RCPT TO:<abuse@example.test>',
    'RCPT TO:<POSTMASTER@two.test>',
    'RCPT TO:<abuse@alias.test>',
    'RCPT TO:<postmaster@mail.example.test>',
    'RCPT TO:<sales@alias.test>',
    'RCPT TO:<sales+x@alias.test>',
    'RCPT TO:<list@example.test>',
    'RCPT TO:<root@mail.example.test>',
    'RCPT TO:<cron@localhost>',
    'RCPT TO:<@relay.test:ana@example.test>',
  ]);
  await refuses(server, {
    'RCPT TO:<>': '501 5.1.3',
    'RCPT TO:<ana>': '550 5.1.3',
    'RCPT TO:<nobody@example.test>': '550 5.1.1',
    'RCPT TO:<nobody@alias.test>': '550 5.1.1',
    'RCPT TO:<nobody@mail.example.test>': '550 5.1.1',
    'RCPT TO:<ana@two.test>': '550 5.1.1',
    'RCPT TO:<+ana@example.test>': '550 5.1.1',
    'RCPT TO:<ana@example.test>NOTIFY=NEVER': '501 5.5.4',
    [`RCPT TO:<${LONG}@example.test>`]: '550 5.1.1',
  });
});

test('the postmaster without a domain is the host’s; domains keep the case that they were written in', async (t) => {
  const server = await SmtpTestServer.start(t);
  await using client = await SmtpClient.hello(server.port);
  assert.match(await client.message('Eva@Remote.Test', ['Postmaster', 'Ana+X@Example.Test'], 'a: b'), /^250/);
  const { sender, recipients } = (server.messages[0] as KeptMessage).envelope;
  assert.equal(sender, 'Eva@Remote.Test');
  assert.deepEqual(
    recipients.map(({ address, route }) => [address, route.kind === 'deliver' ? route.targets : []]),
    [
      ['Postmaster@mail.example.test', [{ kind: 'mailbox', address: 'ana@example.test', recipient: 'ana@example.test' }]],
      ['Ana+X@Example.Test', [{ kind: 'mailbox', address: 'ana@example.test', recipient: 'Ana+X@Example.Test' }]],
    ],
  );
});

test('aliases of the host: to a command, a file, an include and a circle refused, to outside 451 4.3.0 while there is no queue', async (t) => {
  const server = await SmtpTestServer.start(t, {
    ...generous,
    aliases: {
      command: '"|/usr/bin/procmail"',
      file: '/var/mail/file',
      include: ':include:/etc/list',
      mixed: 'ana@example.test, |/bin/sh',
      out: 'someone@elsewhere.test',
    },
    virtualAliases: {
      'a@example.test': 'b@example.test',
      'b@example.test': 'a@example.test',
      'far@example.test': 'x@elsewhere.test',
    },
  });
  await refuses(server, {
    'RCPT TO:<command@mail.example.test>': '554 5.3.5',
    'RCPT TO:<file@mail.example.test>': '554 5.3.5',
    'RCPT TO:<include@mail.example.test>': '554 5.3.5',
    'RCPT TO:<mixed@mail.example.test>': '554 5.3.5',
    'RCPT TO:<a@example.test>': '554 5.3.5',
    'RCPT TO:<out@mail.example.test>': '451 4.3.0',
    'RCPT TO:<far@example.test>': '451 4.3.0',
  });
  const [told] = await replies(server, ['RCPT TO:<command@mail.example.test>']);
  assert.match(told ?? '', /the alias leads to a command, which is not supported$/);
});

/** Row 26's addresses. */
const FOREIGN: Readonly<Record<string, string>> = {
  'RCPT TO:<u@remote.test>': '554 5.7.1',
  'RCPT TO:<"u@remote.test">': '550 5.1.3',
  'RCPT TO:<"u@remote.test"@example.test>': '550 5.1.1',
  'RCPT TO:<u%remote.test@example.test>': '550 5.1.1',
  'RCPT TO:<remote.test!u@example.test>': '550 5.1.1',
  'RCPT TO:<remote.test!u>': '550 5.1.3',
  'RCPT TO:<u%remote.test>': '550 5.1.3',
  'RCPT TO:<@example.test:u@remote.test>': '554 5.7.1',
  'RCPT TO:<@remote.test:u@example.test>': '550 5.1.1',
  'RCPT TO:<u@remote.test@example.test>': '501 5.1.3',
  'RCPT TO:<u@[192.0.2.9]>': '554 5.7.1',
  'RCPT TO:<u@[127.0.0.1]>': '554 5.7.1',
  'RCPT TO:<u@example.test.>': '501 5.1.3',
  'RCPT TO:<u@remote.test > NOTIFY=NEVER': '501 5.1.3',
  'RCPT TO:u@remote.test': '554 5.7.1',
};

test('row 26: relay tests from nobody, a local and a remote sender: 5xx, nothing queued', async (t) => {
  const queued: string[] = [];
  const queue: OutboundQueue = {
    available: true,
    enqueue: async (_message, recipients) => void queued.push(...recipients.map(({ address }) => address)),
  };
  for (const options of [{ queue }, {}]) {
    const server = await SmtpTestServer.start(t, { ...generous, ...options, remoteAddress: '192.0.2.1' });
    for (const sender of ['<>', '<ana@example.test>', '<eva@remote.test>', '<postmaster@mail.example.test>'])
      await refuses(server, FOREIGN, sender);
    assert.equal(server.messages.length, 0);
    assert.equal(server.logged('smtp.reject').length, 4 * Object.keys(FOREIGN).length);
  }
  assert.deepEqual(queued, []);
});

test('mynetworks may send to outside: 451 4.3.0 until the queue is there', async (t) => {
  const none = await SmtpTestServer.start(t, { ...generous, trusted: true });
  await refuses(none, { 'RCPT TO:<u@remote.test>': '451 4.3.0' });
  const queue: OutboundQueue = { available: true, enqueue: async () => undefined };
  const server = await SmtpTestServer.start(t, { ...generous, trusted: true, queue });
  await takes(server, ['RCPT TO:<u@remote.test>', 'RCPT TO:<@example.test:u@remote.test>', 'RCPT TO:<u@[192.0.2.9]>']);
  await refuses(server, { 'RCPT TO:<nobody@example.test>': '550 5.1.1' });
});

test('row 24: CR, LF, NUL and control characters in the envelope and EHLO: 501 5.5.4, no line of its own anywhere', async (t) => {
  const server = await SmtpTestServer.start(t, generous);
  const client = await SmtpClient.hello(server.port);
  t.after(() => client.destroy());
  for (const c of ['\0', '\x01', '\x08', '\x0b', '\x1b', '\x7f', '\r', '\xff'])
    for (const command of [`MAIL FROM:<a${c}b@remote.test>`, `EHLO a${c}b`, `MAIL FROM:<> ENVID=a${c}b`, `N${c}OOP`])
      assert.match(await client.command(command), /^501 5\.5\.4 /, JSON.stringify(command));
  await client.commands(['MAIL FROM:<eva@remote.test>', '250']);
  for (const c of ['\0', '\x01', '\x1b', '\r', '\x7f'])
    for (const command of [
      `RCPT TO:<a${c}b@example.test>`,
      `RCPT TO:<"a${c}b"@example.test>`,
      `RCPT TO:<"a\\${c}"@example.test>`,
    ])
      assert.match(await client.command(command), /^501 5\.5\.4 /, JSON.stringify(command));
  // A tab is allowed in a line, not in an address.
  assert.match(await client.command('RCPT TO:<a\tb@example.test>'), /^501 5\.1\.3 /);
  // LF alone ends a line for some: the rest of what looks like one is never looked at.
  for (const command of ['EHLO a\nX-Evil: 1', 'MAIL FROM:<a\nb@remote.test>', 'RCPT TO:<ana@example.test>\nDATA']) {
    const other = await SmtpClient.hello(server.port);
    assert.equal(await other.command(command), '501 5.5.4 Error: bare <LF> received');
    await other.ends();
  }
  for (const event of server.events) assert.doesNotMatch(JSON.stringify(Object.values(event)), /\\[rn]|\\u00[01]/);
});

test('row 24: what EHLO says cannot break the Received field', async (t) => {
  const server = await SmtpTestServer.start(t);
  await using client = await SmtpClient.connect(server.port);
  await client.reply();
  client.send(Buffer.from('EHLO x)(;<ñ>\\\r\n'));
  assert.match(await client.reply(), /^250/);
  assert.match(await client.message('eva@remote.test', ['ana@example.test'], 'Subject: x\n\ny'), /^250/);
  assert.match(
    server.messages[0]?.text ?? '',
    /^Received: from x\?\?;\?\?\?\? \(unknown \[127\.0\.0\.1\]\)\r\n\tby mail\.example\.test /,
  );
});

test('bare LF in commands is taken from mynetworks and where the setting says so', async (t) => {
  for (const options of [{ trusted: true }, { bareNewline: 'normalize' }] as const) {
    const server = await SmtpTestServer.start(t, options);
    await playSmtp(
      server.port,
      String.raw`
      C| EHLO client.test\n
      S~ ^250-
      C| MAIL FROM:<eva@remote.test>\nRCPT TO:<ana@example.test>\n
      S~ ^250
      S~ ^250
    `,
    );
  }
});

test('row 14: the 1,001st RCPT gets 452 4.5.3, the first 1,000 are delivered', async (t) => {
  const server = await SmtpTestServer.start(t, { virtualAliases: { '@two.test': 'ana@example.test' } });
  await using client = await SmtpClient.hello(server.port);
  await client.commands(['MAIL FROM:<eva@remote.test>', '250']);
  client.send(Array.from({ length: 1_100 }, (_, i) => `RCPT TO:<u${i}@two.test>\r\n`).join(''));
  for (let i = 0; i < 1_000; i++) assert.equal(await client.reply(), '250 2.1.5 Ok');
  for (let i = 0; i < 100; i++) assert.equal(await client.reply(), '452 4.5.3 Error: too many recipients');
  await client.commands(['DATA', '354'], ['Subject: many\r\n\r\nx\r\n.', '250 2.0.0']);
  const recipients = server.messages[0]?.envelope.recipients ?? [];
  assert.deepEqual(
    [recipients.length, recipients[0]?.address, recipients[999]?.address],
    [1_000, 'u0@two.test', 'u999@two.test'],
  );
});

test('clients that only ever go past the limit of recipients are sent away in the end', async (t) => {
  const server = await SmtpTestServer.start(t, { limits: { recipients: 1, recipientOvershoot: 3, errors: 2 } });
  await using client = await SmtpClient.hello(server.port);
  await client.commands(['MAIL FROM:<eva@remote.test>', '250'], ['RCPT TO:<ana@example.test>', '250']);
  for (let i = 0; i < 5; i++) assert.match(await client.command('RCPT TO:<info@example.test>'), /^452 4\.5\.3/);
  assert.match(await client.command('RCPT TO:<info@example.test>'), /^421 4\.7\.0/);
});

test('a mailbox that is full, or cannot be asked, is told at RCPT', async (t) => {
  const server = await SmtpTestServer.start(t, {
    checkMailbox: async (address) => {
      if (address === 'info@example.test') throw new MailError('over-quota', 'OVER_QUOTA', 'Quota exceeded');
      throw new Error('EIO: /var/mail/secret/path');
    },
  });
  assert.deepEqual(await replies(server, ['RCPT TO:<info@example.test>', 'RCPT TO:<ana@example.test>']), [
    '452 4.2.2 <info@example.test>: Quota exceeded',
    '451 4.3.0 <ana@example.test>: Temporary failure, try again later',
  ]);
});

test('row 31: RCPT to ../x and its like: 550 5.1.1', async (t) => {
  const server = await SmtpTestServer.start(t, generous);
  await refuses(server, {
    'RCPT TO:<../x@example.test>': '550 5.1.1',
    'RCPT TO:<"../x"@example.test>': '550 5.1.1',
    'RCPT TO:<../../etc/passwd@example.test>': '550 5.1.1',
    'RCPT TO:<"/etc/passwd"@example.test>': '550 5.1.1',
    'RCPT TO:<..@example.test>': '550 5.1.1',
    'RCPT TO:<ana/../info@example.test>': '550 5.1.1',
    'RCPT TO:<x@../example.test>': '501 5.1.3',
  });
});

test('XVERP is for those who may relay, and not for the null sender; what they send is marked as ours', async (t) => {
  const body = 'DATA\r\nFrom: ana@example.test\r\n\r\nx\r\n.';
  const accepted: [verp: string | undefined, trusted: boolean | undefined][] = [];
  const accept = async ({ envelope, trusted }: ReceivedMessage): Promise<void> => void accepted.push([envelope.verp, trusted]);
  const ours = await SmtpTestServer.start(t, { trusted: true, accept });
  const client = await SmtpClient.hello(ours.port);
  await client.commands(
    ['MAIL FROM:<> XVERP', '503 5.5.4'],
    ['MAIL FROM:<list@example.test> XVERP=ab', '501 5.5.4'],
    ['MAIL FROM:<list@example.test> XVERP=-=', '250'],
    ['RCPT TO:<ana@example.test>', '250'],
  );
  assert.match(await client.command(body.slice(0, 4)), /^354/);
  assert.match(await client.command(body.slice(6)), /^250/);
  client.destroy();
  assert.deepEqual(accepted, [['-=', true]]);
  const foreign = await SmtpTestServer.start(t);
  const stranger = await SmtpClient.hello(foreign.port);
  await stranger.commands(['MAIL FROM:<list@far.test> XVERP', '555 5.5.4']);
  stranger.destroy();
});
