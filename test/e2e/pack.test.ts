// The package as its users get it: packed, installed in another folder (its dependencies from npm's cache or the registry, as `npm ci` has them), where
// the examples compile against the types that it ships, and run. Takes half a minute.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { copyFile, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findProgram, run, type RunResult } from '../support/programs.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
/** What the examples use beside the package itself; in the versions that the project has. */
const TOOLS = ['typescript', '@types/node', '@types/nodemailer', 'nodemailer', 'imapflow'];
const INSTALL_MS = 240_000;

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
}
const readManifest = async (folder: string): Promise<Manifest> =>
  JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as Manifest;

/** Without what an npm or a test runner around us says of its own run. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const kept = /^npm_config_(cache|registry|userconfig|globalconfig)$/i;
  const ours = /^(npm_|NODE_TEST_CONTEXT$|INIT_CWD$)/i;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => kept.test(name) || !ours.test(name)));
}

/** The npm that runs this, else the host's. */
async function npm(cwd: string, ...args: string[]): Promise<string> {
  const cli = process.env['npm_execpath'];
  const program = cli?.endsWith('.js') ? process.execPath : await findProgram('npm');
  assert.ok(program, 'npm is not installed');
  const all = program === process.execPath && cli ? [cli, ...args] : args;
  const result = await run(program, all, { cwd, env: cleanEnvironment(), timeoutMs: INSTALL_MS });
  return succeeded(result, `npm ${args[0]}`);
}
function succeeded({ status, stdout, stderr }: RunResult, what: string): string {
  assert.equal(status, 0, `${what}\n${stdout}\n${stderr}`);
  return stdout;
}

/** The consumer's project; the package is installed in its node_modules. */
let folder: string;
let packed: string[];

before(async () => {
  assert.ok(existsSync(join(PROJECT, 'dist', 'index.js')), 'dist/ is missing: npm run build');
  folder = await mkdtemp(join(tmpdir(), 'buzon-pack-'));
  const [tarball] = JSON.parse(await npm(PROJECT, 'pack', '--json', '--ignore-scripts', '--pack-destination', folder)) as [
    { filename: string; files: { path: string }[] },
  ];
  packed = tarball.files.map(({ path }) => path);
  await writeFile(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }));
  const { dependencies, devDependencies } = await readManifest(PROJECT);
  const tools = TOOLS.map((name) => `${name}@${dependencies[name] ?? devDependencies[name]}`);
  await npm(
    folder,
    ...['install', '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund', `./${tarball.filename}`, ...tools],
  );
  for (const name of await examples()) await copyFile(join(installed(), 'examples', name), join(folder, name));
});
after(async () => rm(folder, { recursive: true, force: true }));

const installed = (): string => join(folder, 'node_modules', 'buzon');
const examples = async (): Promise<string[]> =>
  (await readdir(join(PROJECT, 'examples'))).filter((name) => name.endsWith('.ts')).sort();

test('the package holds what its users need, and neither tests nor sources nor a demo', async () => {
  const top = new Set(packed.map((path) => path.split('/')[0]));
  assert.deepEqual(
    [...top].sort(),
    ['CHANGELOG.md', 'LICENSE', 'README.md', 'contrib', 'dist', 'docs', 'examples', 'package.json'].sort(),
  );
  assert.deepEqual(
    packed.filter((path) => path.startsWith('docs/')),
    ['docs/settings.md'],
  );
  for (const path of ['contrib/fail2ban/filter.d/buzon.conf', 'dist/server.js', 'dist/index.d.ts', 'dist/testing.d.ts'])
    assert.ok(packed.includes(path), path);
  for (const name of await examples()) assert.ok(packed.includes(`examples/${name}`), name);
  assert.deepEqual(
    packed.filter((path) => path.startsWith('dist/') && !/\.(js|d\.ts)$/.test(path)),
    [],
  );
});

/** `import … from 'x'`, `export … from 'x'`, `import('x')` of packages, as tsc writes them: one a line. */
const IMPORT = /(?:^(?:import|export) [^'"\n]*?from |^import |\bimport\()['"]([^.'"][^'"\n]*)['"]/gm;

test('everything that the built package imports is among its dependencies', async () => {
  const { dependencies } = await readManifest(installed());
  const known = new Set([...Object.keys(dependencies), ...builtinModules.map((name) => `node:${name}`)]);
  const imported = new Set<string>();
  for (const path of packed.filter((name) => /^dist\/.*\.js$/.test(name)))
    for (const [, name = ''] of (await readFile(join(installed(), path), 'utf8')).matchAll(IMPORT)) imported.add(name);
  assert.ok(imported.has('smtp-server/lib/smtp-connection.js') && imported.has('piscina'), 'the imports are found');
  const packageOf = (name: string): string => (name.startsWith('node:') ? name : (/^(@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? name));
  assert.deepEqual(
    [...imported].filter((name) => !known.has(packageOf(name))),
    [],
  );
});

test('the examples compile against the types that are shipped, with every check on', async () => {
  const compilerOptions = {
    ...{ target: 'es2023', lib: ['es2023', 'esnext.disposable'], module: 'nodenext', moduleResolution: 'nodenext' },
    ...{ types: ['node'], noEmit: true, strict: true, skipLibCheck: false, exactOptionalPropertyTypes: true },
    ...{ noUncheckedIndexedAccess: true, verbatimModuleSyntax: true, erasableSyntaxOnly: true },
  };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, include: ['*.ts'] }));
  // A typing error in a setting's name must be one: the types are there and not `any`.
  await writeFile(
    join(folder, 'wrong.ts'),
    [
      "import { createMailServer } from 'buzon';",
      "import { startTestServer } from 'buzon/testing';",
      '// @ts-expect-error there is no such setting',
      "await createMailServer({ settings: { hostnam: 'mail.example.test' } });",
      '// @ts-expect-error the server sets its listeners itself',
      'await startTestServer({ settings: { listeners: [] } });',
      'await using server = await startTestServer();',
      "// @ts-expect-error a stage is none of SMTP's",
      "server.failNext({ stage: 'helo', code: 451 });",
      '// @ts-expect-error the subject is a text',
      'const subject: number = (await server.waitForMessage()).parsed.subject;',
      'export { subject };',
      '',
    ].join('\n'),
  );
  const tsc = join(folder, 'node_modules/typescript/bin/tsc');
  const env = cleanEnvironment();
  succeeded(await run(process.execPath, [tsc, '-p', '.'], { cwd: folder, env, timeoutMs: 180_000 }), 'tsc');
});

for (const name of ['failing.ts', 'own-server.ts', 'read-imap.ts', 'signup-mail.test.ts'])
  test(`the example ${name} runs where the package is installed`, async () => {
    const result = await run(process.execPath, [name], { cwd: folder, env: cleanEnvironment(), timeoutMs: 60_000 });
    succeeded(result, name);
    assert.equal(result.stderr, '');
  });

test('every example is among those that are run', async () => {
  assert.deepEqual(await examples(), ['failing.ts', 'own-server.ts', 'read-imap.ts', 'signup-mail.test.ts']);
});

test('the commands of the package are installed and run', async () => {
  const { bin } = await readManifest(installed());
  assert.deepEqual(Object.keys(bin), [
    'buzon',
    ...['frm', 'mail', 'mailq', 'messages', 'movemail', 'newaliases'],
    ...['postcat', 'postconf', 'postmap', 'postqueue', 'postsuper', 'sendmail'],
  ]);
  await writeFile(join(folder, 'virtual'), 'sales@example.test  ana@example.test\n');
  // A bin is a link whose first line asks for `node`: the one that runs this.
  const env = { ...cleanEnvironment(), PATH: `${join(process.execPath, '..')}:${process.env['PATH'] ?? ''}` };
  const command = async (name: string, ...args: string[]): Promise<string> =>
    succeeded(await run(join(folder, 'node_modules/.bin', name), args, { cwd: folder, env }), basename(name));
  assert.match(await command('buzon', 'version'), /^buzon \d+\.\d+\.\d+\n$/);
  await command('postmap', 'virtual');
  assert.equal(await command('postmap', '-q', 'sales@example.test', 'virtual'), 'ana@example.test\n');
});
