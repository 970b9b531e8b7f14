// The README's first command on a clean copy of the project: `npm ci && npm start` as root and as an ordinary user with an empty HOME, with
// Node 20 (which hands over), 22 and 24. Each start gets ready, takes the lines that it prints, and ends with 0 at SIGTERM.
// (The second command, `npm test`, is what runs this file; what it and CI call is looked at in test/unit/package-scripts.test.ts.)
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, cp, lchown, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test, type TestContext } from 'node:test';
import { parse, stringify } from 'yaml';
import { eventually, freePorts, PROJECT } from '../support/mail-host.ts';
import { findProgram, requireProgram, requireRoot, run, type RunResult } from '../support/programs.ts';
import { SmtpSender } from '../support/smtp-send.ts';

/** The oldest that runs Buzon itself, and the one below it that hands over. */
const NODE_22 = '22.19.0';
const NODE_20 = '20.20.2';
const NOBODY = { uid: 65534, gid: 65534 };
const isRoot = process.getuid?.() === 0;
const CI = process.env['CI'] === 'true';
const FIXED_PORTS: Readonly<Record<string, number>> = {
  smtp: 2525,
  submission: 2587,
  submissions: 2465,
  imap: 2143,
  imaps: 2993,
  https: 2443,
};
const INSTALL_MS = 300_000;

let scratch: string;
/** node's folder by its major version, for PATH. */
const nodes = new Map<number, string>();
let npm: string | undefined;
/** Why nothing can be tried here. */
let missing: string | undefined;

interface User {
  readonly uid?: number;
  readonly gid?: number;
}
/** Who is not root: nobody, or whoever runs the test. */
const ordinary: User = isRoot ? NOBODY : {};

before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'buzon-two-'));
  await chmod(scratch, 0o755);
  npm = await findProgram('npm').then((path) => path && realpath(path));
  if (npm === undefined) missing = 'npm is not installed';
  else {
    nodes.set(24, join(await realpath(join(PROJECT, 'node_modules/node/bin/node')), '..'));
    for (const [major, version] of [
      [20, NODE_20],
      [22, NODE_22],
    ] as const)
      missing ??= await provide(major, version);
  }
  if (missing !== undefined && CI) throw new Error(missing);
});
after(() => rm(scratch, { recursive: true, force: true }));

/** The host's own Node of that major version, else the one of npm's package `node`; gives what went wrong. */
async function provide(major: number, version: string): Promise<string | undefined> {
  const system = await findProgram('node');
  if (system !== undefined && (await run(system, ['--version'])).stdout.startsWith(`v${major}.`)) {
    nodes.set(major, join(system, '..'));
    return undefined;
  }
  const folder = join(scratch, `node-${major}`);
  await mkdir(folder);
  const installed = await run(
    process.execPath,
    [npm ?? '', 'install', '--no-save', '--no-audit', '--no-fund', '--prefix', folder, '--foreground-scripts', `node@${version}`],
    { cwd: folder, env: environment(24), timeoutMs: INSTALL_MS },
  );
  const bin = join(folder, 'node_modules/node/bin');
  const said = await run(join(bin, 'node'), ['--version']).catch((error: Error) => ({ stdout: error.message }));
  nodes.set(major, bin);
  return said.stdout.trim() === `v${version}`
    ? undefined
    : `no Node ${version}: ${installed.stderr}${installed.stdout}${said.stdout}`;
}

/** What a log-in shell of a fresh machine has: nothing of the npm and the test runner that this test runs under. */
function environment(major: number, home = scratch): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) =>
      !/^(npm_|node_(?!extra_ca)|init_cwd|home|path|user|logname|ci$)/i.test(name) ||
      /^npm_config_(registry|cafile|proxy|https_?proxy|noproxy)$/i.test(name),
  );
  return { ...Object.fromEntries(kept), HOME: home, PATH: `${nodes.get(major) ?? ''}:/usr/local/bin:/usr/bin:/bin` };
}

/** The project without what is made of it, owned by `user`, beside an empty HOME of that user. */
async function cleanCopy(name: string, { uid, gid }: User): Promise<{ tree: string; home: string }> {
  const [tree, home] = [join(scratch, name), join(scratch, `${name}-home`)];
  const made = new Set(['node_modules', 'dist', 'demo', '.git', 'coverage']);
  await cp(PROJECT, tree, { recursive: true, filter: (path) => !made.has(basename(path)), verbatimSymlinks: true });
  await mkdir(home, { mode: 0o700 });
  if (uid === undefined || gid === undefined) return { tree, home };
  await Promise.all([chown(tree, uid, gid), chown(home, uid, gid)]);
  for (const path of await readdir(tree, { recursive: true })) await lchown(join(tree, path), uid, gid);
  return { tree, home };
}

interface Place extends User {
  readonly tree: string;
  readonly home: string;
  readonly major: number;
}
function npmRun(place: Place, args: readonly string[]): Promise<RunResult> {
  const { tree, home, major, uid, gid } = place;
  return run(join(nodes.get(major) ?? '', 'node'), [npm ?? '', ...args], {
    cwd: tree,
    env: environment(major, home),
    timeoutMs: INSTALL_MS,
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
  });
}
async function install(place: Place, ...flags: string[]): Promise<void> {
  const { status, stdout, stderr } = await npmRun(place, ['ci', ...flags]);
  assert.equal(status, 0, stdout + stderr);
}

/** A demo that runs; ended in any case. */
class Demo {
  readonly child: ChildProcess;
  output = '';
  constructor(place: Place, args: readonly string[]) {
    const { tree, home, major, uid, gid } = place;
    this.child = spawn(join(nodes.get(major) ?? '', 'node'), args, {
      cwd: tree,
      env: environment(major, home),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => (this.output += text));
  }
  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }
  async ready(): Promise<void> {
    const until = await eventually(
      async () => this.ended || this.output.includes('Ctrl-C ends it.'),
      `a demo that is ready: ${this.output}`,
      150_000,
    ).catch((error: Error) => error);
    assert.equal(until, true, this.output);
    assert.ok(!this.ended, this.output);
    assert.match(this.output, /demo is ready/);
  }
  /** The exit status at SIGTERM to the process that was started, as an init system would send it. */
  async stop(): Promise<number | null> {
    const exit = once(this.child, 'exit');
    if (this.ended) return this.child.exitCode;
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.#kill(), 40_000);
    await exit;
    clearTimeout(timer);
    return this.child.exitCode;
  }
  #kill(): void {
    try {
      process.kill(-(this.child.pid ?? 0), 'SIGKILL');
    } catch {
      // Nothing of the group is left.
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.ended) await this.stop();
    this.#kill();
  }
}
const npmStart = (place: Place): Demo => new Demo(place, [npm ?? '', 'start']);

/** The lines that the demo prints to paste, through sh. */
async function paste(demo: Demo): Promise<string> {
  const lines = demo.output.split('\n').filter((line) => /^ {2}(printf|curl) /.test(line));
  assert.equal(lines.length, 4, demo.output);
  const { status, stdout, stderr } = await run('/bin/sh', ['-e'], { input: lines.join('\n') + '\n' });
  assert.equal(status, 0, stdout + stderr);
  assert.match(stdout, /^\* SEARCH \d/m);
  assert.match(stdout, /Subject: hello\r?\n\r?\nIt works\./);
  assert.match(stdout, /version: STSv1\r\nmode: testing\r\nmx: mail\.example\.test\r\nmax_age: 604800\r\n/);
  return stdout;
}
/** How many mails the pasted SEARCH found. */
const found = (output: string): number => /^\* SEARCH ([\d ]+)/m.exec(output)?.[1]?.trim().split(' ').length ?? 0;

async function usePorts(tree: string, wanted: readonly number[]): Promise<void> {
  const file = join(tree, 'demo/buzon.yaml');
  const settings = parse(await readFile(file, 'utf8')) as { listeners: { port: number }[] };
  for (const [i, listener] of settings.listeners.entries()) listener.port = wanted[i] ?? 0;
  await writeFile(file, stringify(settings));
}
async function listenOn(port: number): Promise<Server | undefined> {
  const server = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1');
  return Promise.race([once(server, 'listening').then(() => server), once(server, 'error').then(() => undefined)]).catch(
    () => undefined,
  );
}
const fixedPortsFree = async (): Promise<boolean> => {
  const servers = await Promise.all(Object.values(FIXED_PORTS).map(listenOn));
  for (const server of servers) server?.close();
  return servers.every((server) => server !== undefined);
};

async function canRun(t: TestContext): Promise<boolean> {
  if (missing !== undefined) t.skip(missing);
  return missing === undefined && (await requireProgram(t, 'curl')) !== undefined;
}

/** Left by the first test for the others: an installed tree of the ordinary user's. */
let users: Place | undefined;

test('npm ci && npm start as an ordinary user with an empty HOME, Node 20: a taken port is said plainly, then the demo works', async (t) => {
  if (!(await canRun(t))) return;
  const place: Place = { ...(await cleanCopy('user', ordinary)), major: 20, ...ordinary };
  await install(place);
  users = place;
  const taken = await listenOn(FIXED_PORTS['smtp'] ?? 0);
  try {
    const refused = await npmRun(place, ['start']);
    assert.notEqual(refused.status, 0);
    assert.match(
      refused.stderr,
      /^buzon serve: smtp: another program listens on 127\.0\.0\.1:2525 already: stop it, or set another port for smtp under "listeners" in \S+\/demo\/buzon\.yaml \(0 takes a free one\)$/m,
    );
    assert.doesNotMatch(refused.stderr, /^\s+at /m);
  } finally {
    taken?.close();
  }
  const fixed = await fixedPortsFree();
  if (CI) assert.ok(fixed, 'the demo’s ports are free in CI');
  else if (!fixed) await usePorts(place.tree, await freePorts(6));
  await using demo = npmStart(place);
  await demo.ready();
  if (fixed)
    for (const [protocol, port] of Object.entries(FIXED_PORTS))
      assert.match(demo.output, new RegExp(`^  ${protocol} +${port}$`, 'm'));
  await paste(demo);
  assert.equal(await demo.stop(), 0, demo.output);
});

test('the demo’s accounts, certificate and settings are as promised, and a second start keeps the data', async (t) => {
  if (!users) return t.skip('the first start did not come up');
  const { tree } = users;
  const accounts = join(tree, 'demo/accounts.json');
  const [text, { mode, uid }] = [await readFile(accounts, 'utf8'), await stat(accounts)];
  assert.equal(mode & 0o777, 0o600);
  assert.equal(uid, ordinary.uid ?? process.getuid?.());
  const passwords = JSON.parse(text) as Record<string, string>;
  assert.deepEqual(Object.keys(passwords), ['info@example.test', 'ana@example.test']);
  for (const password of Object.values(passwords)) assert.match(password, /^[\w-]{12}$/);
  const settings = parse(await readFile(join(tree, 'demo/buzon.yaml'), 'utf8')) as Record<string, unknown>;
  assert.deepEqual(settings['virtual_mailbox_domains'], ['example.test']);
  assert.deepEqual(settings['mynetworks'], []);
  assert.match(await readFile(join(tree, '.gitignore'), 'utf8'), /^demo\/$/m);

  await using demo = npmStart({ ...users, major: 22 });
  await demo.ready();
  for (const [address, password] of Object.entries(passwords))
    assert.match(demo.output, new RegExp(`^  ${address} +${password}$`, 'm'));
  assert.equal(found(await paste(demo)), 2);
  const imaps = /^ {2}imaps +(\d+)$/m.exec(demo.output)?.[1] ?? '';
  const tls = await run(
    '/usr/bin/openssl',
    [
      's_client',
      '-connect',
      `127.0.0.1:${imaps}`,
      '-servername',
      'example.test',
      '-verify_hostname',
      'example.test',
      '-CAfile',
      join(tree, 'demo/cert.pem'),
    ],
    { input: '' },
  );
  assert.match(tls.stdout, /Verify return code: 0 \(ok\)/, tls.stdout);
  assert.equal(await demo.stop(), 0, demo.output);
});

for (const major of [20, 22, 24])
  test(`node dist/server.js with Node ${major} is ready, sends and reads a mail, and ends with 0 at SIGTERM`, async (t) => {
    if (!users) return t.skip('the first start did not come up');
    await usePorts(users.tree, await freePorts(6));
    await using demo = new Demo({ ...users, major }, ['dist/server.js']);
    await demo.ready();
    await paste(demo);
    assert.equal(await demo.stop(), 0, demo.output);
  });

test('two SIGINTs at once, as a terminal’s Ctrl-C under npm gives, end the demo in good order: mail in flight is taken', async (t) => {
  if (!users) return t.skip('the first start did not come up');
  await usePorts(users.tree, await freePorts(6));
  await using demo = new Demo({ ...users, major: 20 }, ['dist/server.js']);
  await demo.ready();
  const smtp = await SmtpSender.connect(Number(/^ {2}smtp +(\d+)$/m.exec(demo.output)?.[1]));
  await smtp.command('MAIL FROM:<eva@remote.test>', '250');
  await smtp.command('RCPT TO:<ana@example.test>', '250');
  await smtp.command('DATA', '354');
  const exit = once(demo.child, 'exit');
  process.kill(-(demo.child.pid ?? 0), 'SIGINT');
  await new Promise((resolve) => setTimeout(resolve, 200));
  process.kill(-(demo.child.pid ?? 0), 'SIGINT');
  await smtp.command('Subject: in flight\r\n\r\nhello\r\n.', '250');
  await smtp.quit();
  await exit;
  assert.equal(demo.child.exitCode, 0, demo.output);
  assert.match(await readFile(join(users.tree, 'demo/buzon.log'), 'utf8'), /"event":"server\.stopped"\}\n$/);
});

test('npm start by root in an ordinary user’s folder drops to that user, who can go on with what it made', async (t) => {
  if (!requireRoot(t)) return;
  if (!users) return t.skip('the first start did not come up');
  const { tree, home } = users;
  await rm(join(tree, 'dist'), { recursive: true });
  await usePorts(tree, await freePorts(6));
  {
    await using demo = npmStart({ tree, home, major: 24 });
    await demo.ready();
    assert.match(demo.output, /Started as root: the demo runs as the folder's owner, uid 65534\./);
    const pid = (await readFile(join(tree, 'demo/data/buzon.pid'), 'utf8')).trim();
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    assert.match(status, /^Uid:\t65534\t65534\t65534\t65534$/m);
    assert.match(status, /^Gid:\t65534\t65534\t65534\t65534$/m);
    assert.match(status, /^Groups:\s*$/m);
    await paste(demo);
    assert.equal(await demo.stop(), 0, demo.output);
  }
  for (const path of await readdir(tree, { recursive: true }))
    if (/^(dist|demo)(\/|$)/.test(path)) assert.equal((await stat(join(tree, path))).uid, 65534, path);
});

test('npm ci && npm start as root in root’s folder with Node 20; with --ignore-scripts it ends in one line that says what to install', async (t) => {
  if (!requireRoot(t) || !(await canRun(t))) return;
  const place: Place = { ...(await cleanCopy('root', {})), major: 20 };
  await install(place, '--ignore-scripts');
  const refused = await npmRun(place, ['start']);
  assert.equal(refused.status, 1, refused.stdout + refused.stderr);
  const said = refused.stderr.split('\n').filter((line) => line !== '' && !line.startsWith('npm '));
  assert.equal(said.length, 1, refused.stderr);
  assert.match(
    said[0] ?? '',
    /^buzon: Node\.js 22\.19 or newer is needed, this is 20\.\d+\.\d+: install Node\.js 24, or run "npm ci"/,
  );

  await install(place);
  const fixed = await fixedPortsFree();
  if (!fixed && !CI) {
    // The first start writes the settings, the second takes other ports.
    await npmRun(place, ['start']);
    await usePorts(place.tree, await freePorts(6));
  }
  await using demo = npmStart(place);
  await demo.ready();
  assert.match(demo.output, /belongs to root, so the demo runs as root, on loopback ports only/);
  await paste(demo);
  assert.equal(await demo.stop(), 0, demo.output);
});
