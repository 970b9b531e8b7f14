// sendmail(1): arguments, recipients, what is added to a header, exit statuses.
import assert from 'node:assert/strict';
import { chmod, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { readSendmailOptions } from '../../src/cli/sendmail/options.ts';
import { qualifiedList, readRecipients } from '../../src/cli/sendmail/addresses.ts';
import { inputLines } from '../../src/cli/sendmail/input.ts';
import { localUser } from '../../src/cli/sendmail/local-user.ts';
import { findToolSettings, toolsFileIn, writeToolSettings } from '../../src/maildrop/tool-settings.ts';
import { sendmailCommand } from '../../src/cli/sendmail.ts';
import { MaildropHouse } from '../support/maildrop-house.ts';
import { tempFolder } from '../support/temp-folder.ts';

test('arguments mean what they mean to Postfix’s sendmail', () => {
  const cases: readonly (readonly [string, Partial<ReturnType<typeof readSendmailOptions>>])[] = [
    ['-t -i', { fromHeader: true, dotEnds: false }],
    ['-ti', { fromHeader: true, dotEnds: false }],
    ['-oi -oem -odb root', { dotEnds: false, recipients: ['root'] }],
    ['-i -FCronDaemon -oem root', { dotEnds: false, fullName: 'CronDaemon', recipients: ['root'] }],
    ['-f ana@example.test -F Ana info', { sender: 'ana@example.test', fullName: 'Ana', recipients: ['info'] }],
    ['info -r x@y.test', { sender: 'x@y.test', recipients: ['info'] }],
    [
      '-bm -N success,delay -R hdrs -V id -B 8bitmime x',
      { notify: ['SUCCESS', 'DELAY'], ret: 'HDRS', envid: 'id', bodyType: '8BITMIME' },
    ],
    ['-bs', { mode: 'smtp' }],
    ['-bp', { mode: 'list' }],
    ['-q', { mode: 'flush' }],
    ['-q30m', { mode: 'flush' }],
    ['-bi', { mode: 'aliases' }],
    ['-I', { mode: 'aliases' }],
    ['-G -m -n -v -x -U -e m -h 3 -L tag -p x -X log -A m -O a=b -C /etc x', { config: '/etc', recipients: ['x'] }],
    ['-- -odd', { recipients: ['-odd'] }],
  ];
  for (const [text, expected] of cases) {
    const options = readSendmailOptions(text.split(' '));
    for (const [name, value] of Object.entries(expected))
      assert.deepEqual(options[name as keyof typeof options], value, `${text}: ${name}`);
  }
});

test('arguments that cannot be end with EX_USAGE', async (t) => {
  const house = await MaildropHouse.make(t);
  for (const args of [
    [],
    ['-t', 'x'],
    ['-Z', 'x'],
    ['-f'],
    ['-N', 'never,delay', 'x'],
    ['-N', 'maybe', 'x'],
    ['-R', 'all', 'x'],
    ['-bd'],
    ['-bX'],
    ['-V', 'ñ', 'x'],
    ['-bv'],
    ['-bv', '-t'],
    ['-t'],
  ])
    assert.equal((await house.sendmail(args, 'Subject: x\n\n')).status, 64, args.join(' '));
  assert.deepEqual(await house.names('maildrop'), []);
});

test('sendmail -bp, -q and -bi are the other commands', () => {
  assert.deepEqual(sendmailCommand.instead?.(['-bp', '-C', '/x']), ['mailq', '-C', '/x']);
  assert.deepEqual(sendmailCommand.instead?.(['-q']), ['postqueue', '-f']);
  assert.deepEqual(sendmailCommand.instead?.(['-bi']), ['newaliases']);
  assert.equal(sendmailCommand.instead?.(['root']), undefined);
});

test('-t takes everybody from To, Cc and Bcc, and Bcc is gone', async (t) => {
  const house = await MaildropHouse.make(t);
  const input = [
    'To: Ana <ana@example.test>, "b, c" <b@example.test>',
    'Cc: group: c@example.test, d;',
    'bcc: e@example.test,',
    ' f@example.test',
    'Subject: hola',
    '',
    'body',
  ].join('\n');
  assert.equal((await house.sendmail(['-t', '-f', 'me'], input)).status, 0);
  const [{ envelope, message } = { envelope: {}, message: '' }] = await house.dropped();
  assert.equal(envelope['sender'], 'me@mail.example.test');
  assert.deepEqual(envelope['recipients'], [
    'ana@example.test',
    'b@example.test',
    'c@example.test',
    'd@mail.example.test',
    'e@example.test',
    'f@example.test',
  ]);
  assert.doesNotMatch(message, /bcc|e@example/i);
  assert.match(message, /^Cc: group: c@example\.test, d@mail\.example\.test;\r\n/m);
  assert.ok(message.endsWith('\r\n\r\nbody\r\n'));
});

test('a message that is sent on goes to those of its Resent fields', async (t) => {
  const house = await MaildropHouse.make(t);
  const input =
    'To: old@example.test\nFrom: o@example.test\nDate: x\nResent-To: new@example.test\nResent-Bcc: secret@example.test\n\nbody\n';
  await house.sendmail(['-t', '-f', 'me@example.test'], input);
  const [{ envelope, message } = { envelope: {}, message: '' }] = await house.dropped();
  assert.deepEqual(envelope['recipients'], ['new@example.test', 'secret@example.test']);
  assert.doesNotMatch(message, /secret/);
  assert.match(message, /^Resent-From: .*me@example\.test>?\r\n/m);
  assert.match(message, /^Resent-Date: /m);
  assert.match(message, /^Resent-Message-ID: </m);
});

test('what a header lacks is added: From with the full name, Date, Message-ID', async (t) => {
  const house = await MaildropHouse.make(t);
  await house.sendmail(['-F', 'José, "Pepe"', '-f', 'pepe@example.test', 'root'], 'Subject: x\n\nbody\n');
  await house.sendmail(['-f', 'pepe', 'root'], 'Subject: x\n\nbody\n', { NAME: 'Pepe (the) one' });
  await house.sendmail(['root'], 'From: root (Cron Daemon)\nTo: root\nMessage-ID: <a@b>\nDate: today\n\nbody\n');
  const all = (await house.dropped()).map(({ message }) => message);
  const first = all.find((message) => message.includes('=?UTF-8?B?')) ?? '';
  assert.match(first, /^From: =\?UTF-8\?B\?\S+\?= <pepe@example\.test>\r\n/m);
  assert.match(first, /^Date: \w{3}, .* \+0000\r\n/m);
  assert.match(first, /^Message-ID: <\d{14}\.[0-9A-F]{12}@mail\.example\.test>\r\n/m);
  assert.ok(
    all.some((message) => message.includes('\r\nFrom: "Pepe (the) one" <pepe@mail.example.test>\r\n')),
    all.join('\n---\n'),
  );
  const cron = all.find((message) => message.includes('Cron Daemon')) ?? '';
  assert.ok(
    cron.startsWith(
      'From: Cron Daemon <root@mail.example.test>\r\nTo: root@mail.example.test\r\nMessage-ID: <a@b>\r\nDate: today\r\n\r\nbody\r\n',
    ),
    cron,
  );
});

test('a body without a header is a body', async (t) => {
  const house = await MaildropHouse.make(t);
  await house.sendmail(['-f', 'me', 'root'], 'just text\nSubject: no\n');
  await house.sendmail(['-f', 'me', 'root'], 'From me Mon Jan  1\nSubject: yes\n\nb\n');
  await house.sendmail(['-f', 'me', 'root'], '');
  const all = (await house.dropped()).map(({ message }) => message);
  assert.ok(all.some((message) => message.endsWith('\r\n\r\njust text\r\nSubject: no\r\n')));
  assert.ok(all.some((message) => message.startsWith('Subject: yes\r\n')));
  assert.ok(all.some((message) => /^Date: .*\r\n\r\n$/s.test(message)));
});

test('lines end as they come, and at a dot unless -i says otherwise; fed a byte at a time', async () => {
  const text = 'a\r\nb\n..\n\r\n.\nafter\n.';
  const read = async (size: number, dotEnds: boolean): Promise<string[]> => {
    const lines: string[] = [];
    const pieces = async function* (): AsyncGenerator<Buffer> {
      for (let at = 0; at < text.length; at += size) yield Buffer.from(text.slice(at, at + size));
    };
    for await (const line of inputLines(pieces(), dotEnds, 1000, () => new Error('too large'))) lines.push(line.toString());
    return lines;
  };
  for (const size of [1, 2, 3, 100]) {
    assert.deepEqual(await read(size, true), ['a', 'b', '..', '']);
    assert.deepEqual(await read(size, false), ['a', 'b', '..', '', '.', 'after', '.']);
  }
});

test('-bv reads nothing and writes a question; -v asks for a report of what is sent', async (t) => {
  const house = await MaildropHouse.make(t);
  const asked = await house.sendmail(
    ['-bv', '-f', 'me@example.test', 'root', 'x@far.test', 'jos\u00e9@far.test'],
    'Subject: never\n\nread\n',
  );
  assert.deepEqual([asked.status, asked.stdout], [0, 'Mail Delivery Status Report will be mailed to <me@example.test>.\n']);
  const sent = await house.sendmail(['-v', '-f', 'me@example.test', 'root'], 'Subject: x\n\nbody\n');
  assert.match(sent.stdout, /^Mail Delivery Status Report will be mailed to <me@example\.test>\.\n$/);
  const quiet = await house.sendmail(['-f', 'me@example.test', 'root'], 'Subject: y\n\nbody\n');
  assert.deepEqual([quiet.status, quiet.stdout], [0, '']);
  const dropped = await house.dropped();
  const traces = new Map(dropped.map(({ envelope, message }) => [/^Subject: (\w+)/m.exec(message)?.[1], envelope['trace']]));
  assert.deepEqual(
    traces,
    new Map<unknown, unknown>([...traces.keys()].map((key) => [key, { probe: 'verify', x: 'record' }[key ?? '']])),
  );
  assert.deepEqual([...traces.keys()].sort(), ['probe', 'x', 'y']);
  const probe = dropped.find(({ envelope }) => envelope['trace'] === 'verify');
  assert.deepEqual(probe?.envelope['recipients'], ['root@mail.example.test', 'x@far.test', 'jos\u00e9@far.test']);
  const text = Buffer.from(probe.message, 'latin1').toString('utf8');
  assert.match(text, /^Subject: probe\r\nTo: root@mail\.example\.test,\r\n\tx@far\.test,\r\n\tjos\u00e9@far\.test\r\nDate: /);
  assert.match(text, /\r\nFrom: .*me@example\.test>?\r\n\r\n$/);
});

test('exit statuses: a bad address, a message that is too large, no maildrop, wrong settings', async (t) => {
  const house = await MaildropHouse.make(t, undefined, 'message_size_limit: 1000\n');
  assert.equal((await house.sendmail(['a@b@c'], 'Subject: x\n\n')).status, 65);
  assert.equal((await house.sendmail(['-f', 'x y z@', 'root'], 'Subject: x\n\n')).status, 65);
  assert.equal((await house.sendmail(['-t'], 'To: <a@b\0c.test>\n\n')).status, 65);
  assert.equal((await house.sendmail(['root'], `Subject: x\n\n${'x'.repeat(1000)}\n`)).status, 69);
  assert.deepEqual(await house.names('maildrop'), [], 'nothing is left of them');
  await rm(house.path(), { recursive: true });
  assert.equal((await house.sendmail(['root'], 'Subject: x\n\n')).status, 75);
  await writeFile(house.settingsFile, 'nonsense: 1\n');
  const result = await house.sendmail(['root'], 'Subject: x\n\n');
  assert.equal(result.status, 78);
  assert.match(result.stderr, /^sendmail: fatal: /);
});

test('DSN options travel in the envelope', async (t) => {
  const house = await MaildropHouse.make(t);
  await house.sendmail(['-N', 'success,failure', '-R', 'full', '-V', 'abc', '-f', '<>', 'ana@example.test'], 'Subject: x\n\n');
  await house.round();
  const envelope = house.accepted[0]?.message.envelope;
  assert.equal(envelope?.sender, '');
  assert.deepEqual([envelope?.ret, envelope?.envid, envelope?.recipients[0]?.notify], ['FULL', 'abc', ['SUCCESS', 'FAILURE']]);
});

test('-bs speaks SMTP and leaves what it takes in the maildrop', async (t) => {
  const house = await MaildropHouse.make(t);
  const input = [
    'EHLO localhost',
    'MAIL FROM:<me@example.test> RET=HDRS ENVID=x',
    'RCPT TO:<ana@example.test> NOTIFY=NEVER',
    'RCPT TO:<far@elsewhere.test>',
    'DATA',
    'Subject: x',
    '',
    '..dot',
    '.',
    'QUIT',
    '',
  ].join('\r\n');
  const result = await house.sendmail(['-bs'], input);
  assert.match(result.stdout, /^220 mail\.example\.test [^]*^354 [^]*^250 2\.0\.0 Ok: queued as [^]*^221 /m);
  await house.round();
  const [one] = house.accepted;
  assert.deepEqual(one?.recipients, ['ana@example.test', 'far@elsewhere.test']);
  assert.ok(one.text.endsWith('\r\nSubject: x\r\n\r\n.dot\r\n'), one.text);
});

test('addresses: lists, groups, comments, and domains for those that lack one', () => {
  assert.deepEqual(readRecipients('Ana <ana@x.test>, root (the boss), g: a@y.test, b;', 'h.test'), [
    'ana@x.test',
    'root@h.test',
    'a@y.test',
    'b@h.test',
  ]);
  for (const bad of ['Ana ana@x.test', 'x y z@', '@x.test', 'a@b@c', 'a b'])
    assert.throws(() => readRecipients(bad, 'h.test'), /bad address/, bad);
  assert.deepEqual(readRecipients('"a b"', 'h.test'), ['"a b"@h.test']);
  assert.equal(qualifiedList('a@b.test', 'h.test'), undefined);
  assert.equal(qualifiedList('root (Cron Daemon), "x, y" <z>', 'h.test'), 'Cron Daemon <root@h.test>, "x, y" <z@h.test>');
  assert.equal(qualifiedList('undisclosed-recipients:;', 'h.test'), undefined);
});

test('a user’s name and full name are those of passwd(5)', async (t) => {
  const file = join(await tempFolder(t), 'passwd');
  await writeFile(file, 'root:x:0:0:Super &,room 1:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\n');
  assert.deepEqual(await localUser(0, file), { name: 'root', fullName: 'Super Root' });
  assert.deepEqual(await localUser(1000, file), { name: 'ana', fullName: '' });
  assert.equal(await localUser(7, file), undefined);
});

test('settings for users who may not read buzon.yaml come from tools.json', async (t) => {
  const house = await MaildropHouse.make(t);
  const beside = join(house.folder, 'tools.json');
  const known = {
    settingsFile: house.settingsFile,
    queueDirectory: house.queue,
    hostname: 'old.test',
    myorigin: 'old.test',
    messageSizeLimit: 1,
  };
  const find = () => findToolSettings({ env: { BUZON_TOOLS: beside }, cwd: '/' });
  await writeToolSettings(beside, known);
  assert.equal((await find()).hostname, 'old.test', 'as long as the settings are older, they are not read');
  const later = new Date(Date.now() + 5_000);
  await writeFile(house.settingsFile, `hostname: new.test\nqueue_directory: ${house.queue}\n`);
  const { utimes } = await import('node:fs/promises');
  await utimes(house.settingsFile, later, later);
  assert.equal((await find()).hostname, 'new.test');
  await writeFile(house.settingsFile, 'nonsense: 1\n');
  await utimes(house.settingsFile, later, later);
  assert.equal((await find()).hostname, 'old.test', 'broken settings are no reason to lose mail');
  await writeToolSettings(toolsFileIn(house.queue), { ...known, hostname: 'server.test' });
  await chmod(house.settingsFile, 0o000);
  assert.equal((await find()).hostname, 'server.test', 'what the server wrote last counts before what was installed');
});
