// Debian's Postfix and Dovecot as next hops: SMTP with STARTTLS, LMTP over a unix socket and TCP.
import assert from 'node:assert/strict';
import { chown, mkdir, mkdtemp, readdir, readFile, rm, writeFile, appendFile, chmod } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { makeSelfSigned } from '../support/certificate.ts';
import { MESSAGE, testAgent } from '../support/delivery.ts';
import { Dovecot } from '../support/dovecot.ts';
import { freePorts, TREE_OWNER } from '../support/mail-host.ts';
import { Postfix } from '../support/postfix.ts';
import { requireProgram, requireRoot } from '../support/programs.ts';

async function tree(t: TestContext): Promise<{ directory: string; base: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'buzon-client-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  await chmod(directory, 0o755);
  const base = join(directory, 'vmail');
  await mkdir(join(base, 'example.test'), { recursive: true });
  if (TREE_OWNER) for (const path of [base, join(base, 'example.test')]) await chown(path, TREE_OWNER.uid, TREE_OWNER.gid);
  return { directory, base };
}

test('Postfix takes our mail: pipelined, encrypted, each recipient by itself, several a connection', async (t) => {
  if (!(await requireProgram(t, 'postfix')) || !requireRoot(t)) return;
  const { directory, base } = await tree(t);
  const vmailbox = join(directory, 'vmailbox');
  await writeFile(vmailbox, 'info@example.test example.test/info/\nana@example.test example.test/ana/\n');
  await using postfix = await Postfix.create({ directory, base, domains: ['example.test'], vmailbox });
  const { cert, key } = await makeSelfSigned(['mx.example.test']);
  await writeFile(join(directory, 'postfix', 'etc', 'tls.pem'), key + cert, { mode: 0o600 });
  await appendFile(
    join(postfix.config, 'main.cf'),
    `smtpd_tls_security_level = may\nsmtpd_tls_chain_files = ${join(directory, 'postfix', 'etc', 'tls.pem')}\nsmtp_bind_address =\nmessage_size_limit = 100000\n`,
  );
  await appendFile(join(postfix.config, 'master.cf'), 'tlsmgr unix - - n 1000? 1 tlsmgr\n');
  await postfix.start();
  const agent = testAgent(t, { tlsPolicy: () => ({ level: 'encrypt' }) });
  const hop = `smtp:[127.0.0.1]:${postfix.port}`;
  const to = ['info@example.test', 'nobody@example.test', 'ana@example.test'];
  for (let i = 0; i < 3; i++) {
    const { outcomes } = await agent.deliver({ hop, to, message: `${MESSAGE}.dot ${i}\r\n` });
    assert.deepEqual(
      Object.values(outcomes).map(({ kind, status }) => `${kind} ${status}`),
      ['delivered 2.0.0', 'failed 5.1.1', 'delivered 2.0.0'],
    );
    const [first, second] = Object.values(outcomes);
    assert.ok(first?.kind === 'delivered' && first.tls === 'encrypted' && /queued as/.test(first.reply) && first.dsnPassedOn);
    assert.match(
      JSON.stringify(second),
      /said: 550 5\.1\.1 <nobody@example\.test>: Recipient address rejected: .*in reply to RCPT TO command/,
    );
  }
  const large = await agent.deliver({ hop, to: ['info@example.test'], message: `${MESSAGE}${'x'.repeat(70)}\r\n`.repeat(2_000) });
  assert.equal(large.outcome.status, '5.3.4');
  await postfix.drained();
  const kept = await readdir(join(base, 'example.test', 'info', 'new'));
  assert.equal(kept.length, 3);
  assert.match(await readFile(join(base, 'example.test', 'info', 'new', kept[0] ?? ''), 'utf8'), /\nThe text\.\n\.dot \d\n$/);
  assert.equal((await postfix.log()).match(/ connect from /g)?.length, 1, 'one connection');
});

test('Dovecot takes our mail by LMTP: unix socket and TCP, a reply for each recipient', async (t) => {
  if (!(await requireProgram(t, 'dovecot')) || !requireRoot(t)) return;
  const { directory, base } = await tree(t);
  const { cert, key } = await makeSelfSigned(['mail.example.test']);
  await writeFile(join(directory, 'cert.pem'), cert);
  await writeFile(join(directory, 'key.pem'), key);
  await using dovecot = await Dovecot.create({
    directory,
    base,
    cert: join(directory, 'cert.pem'),
    key: join(directory, 'key.pem'),
  });
  const [port = 0] = await freePorts(1);
  const socket = join(directory, 'dovecot', 'lmtp');
  await appendFile(
    dovecot.config,
    `protocols = imap lmtp
service lmtp {
  unix_listener ${socket} {
    mode = 0666
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${port}
  }
}
protocol lmtp {
  postmaster_address = postmaster@example.test
}
userdb {
  driver = passwd-file
  args = username_format=%u ${directory}/users
  override_fields = uid=${TREE_OWNER?.uid ?? 0} gid=${TREE_OWNER?.gid ?? 0}
}
`,
  );
  const text = (await readFile(dovecot.config, 'utf8')).replace(/userdb \{\n {2}driver = static\n[^}]*\}\n/, '');
  await writeFile(dovecot.config, text);
  await writeFile(
    join(directory, 'users'),
    ['info', 'ana'].map((user) => `${user}@example.test:::::${base}/example.test/${user}\n`).join(''),
  );
  await dovecot.start();
  const to = ['info@example.test', 'nobody@example.test', 'ana@example.test'];
  for (const hop of [`lmtp:unix:${socket}`, `lmtp:127.0.0.1:${port}`]) {
    const { outcomes } = await testAgent(t).deliver({ hop, to });
    assert.deepEqual(
      Object.values(outcomes).map(({ kind, status }) => `${kind} ${status}`),
      ['delivered 2.0.0', 'failed 5.1.1', 'delivered 2.0.0'],
      JSON.stringify(outcomes) + (await dovecot.log()),
    );
  }
  assert.equal((await readdir(join(base, 'example.test', 'info', 'new'))).length, 2);
});
