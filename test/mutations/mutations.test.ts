// Tests that cannot fail prove nothing: each guard named here is taken away in a copy of the project, and a named test has to notice. The copy holds
// src, test and the settings of the tools; node_modules is linked. A patch is exact text, so that a guard that was rewritten is not passed over.
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { PROJECT } from '../support/mail-host.ts';
import { requireProgram, run, type RunResult } from '../support/programs.ts';

interface Mutation {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** The test that notices. */
  readonly test: { readonly file: string; readonly name: string };
  /** Whether it starts the built server. */
  readonly build?: true;
}

const COPIED = ['src', 'test', 'scripts', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.test.json', 'LICENSE'];
const TIME_LIMIT = 120_000;

class Copy {
  readonly folder: string;
  private constructor(folder: string) {
    this.folder = folder;
  }
  static async make(): Promise<Copy> {
    const folder = await mkdtemp(join(tmpdir(), 'buzon-mutation-'));
    for (const name of COPIED) await cp(join(PROJECT, name), join(folder, name), { recursive: true });
    await symlink(join(PROJECT, 'node_modules'), join(folder, 'node_modules'));
    return new Copy(folder);
  }

  /** Without type checks: the compiler only has to make the files. */
  async build(): Promise<void> {
    const tsc = join(PROJECT, 'node_modules', 'typescript', 'bin', 'tsc');
    const args = [tsc, '-p', 'tsconfig.json', '--noCheck', '--declaration', 'false', '--sourceMap', 'false'];
    const built = await run(process.execPath, args, { cwd: this.folder, timeoutMs: TIME_LIMIT });
    assert.equal(built.status, 0, built.stdout + built.stderr);
  }

  async test({ file, name }: Mutation['test']): Promise<RunResult> {
    const pattern = name.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&');
    const { NODE_TEST_CONTEXT: _, ...env } = process.env;
    return run(process.execPath, ['--test', '--test-reporter=tap', `--test-name-pattern=^${pattern}$`, file], {
      cwd: this.folder,
      timeoutMs: TIME_LIMIT,
      env: { ...env, SYNC_ORDER_MESSAGES: '20' },
    });
  }

  async mutated<T>({ file, from, to, build }: Mutation, look: () => Promise<T>): Promise<T> {
    const path = join(this.folder, file);
    const text = await readFile(path, 'utf8');
    assert.equal(text.split(from).length, 2, `${file} has the text exactly once: ${from}`);
    await writeFile(
      path,
      text.replace(from, () => to),
    );
    try {
      if (build) await this.build();
      return await look();
    } finally {
      await writeFile(path, text);
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Lines of TAP about the named test: it ran, and passed or failed. */
const outcome = (result: RunResult, name: string): string =>
  result.stdout
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line.endsWith(` - ${name}`))
    .join('\n');

/** Passes as it is, fails without the guard. */
async function bites(mutations: readonly Mutation[]): Promise<void> {
  await using copy = await Copy.make();
  if (mutations.some((mutation) => mutation.build)) await copy.build();
  for (const named of new Map(mutations.map((mutation) => [mutation.test.name, mutation.test])).values()) {
    const before = await copy.test(named);
    assert.match(outcome(before, named.name), /^ok /, `as it is: ${before.stdout}${before.stderr}`);
  }
  for (const mutation of mutations) {
    const { name } = mutation.test;
    const after = await copy.mutated(mutation, () => copy.test(mutation.test));
    assert.match(outcome(after, name), /^not ok /, `without ${mutation.from}: ${after.stdout}${after.stderr}`);
  }
}

const ORDER = {
  file: 'test/crash/sync-order.test.ts',
  name: 'row 3: before each 250 the file was synced after its last write and the folder after its name appeared',
};

test('without the sync of the mail file, or of its folder, the test of the sync order fails', async (t) => {
  if ((await requireProgram(t, 'strace')) === undefined) return;
  await bites([
    { file: 'src/storage/message-file.ts', from: '    await syncDescriptor(fd);\n', to: '', test: ORDER, build: true },
    {
      file: 'src/storage/folder-sync.ts',
      from: 'new SharedRun(() => syncFolder(path))',
      to: 'new SharedRun(() => Promise.resolve())',
      test: ORDER,
      build: true,
    },
  ]);
});

test('without a smuggling guard the test of the ends of data fails', async () => {
  await bites([
    {
      file: 'src/smtp/data-scanner.ts',
      from: '      if (byte === CR) state = AFTER_CR;\n      else if (byte === LF) {\n        this.irregular = true;\n',
      to: '      if (byte === CR) state = AFTER_CR;\n      else if (byte === LF) {\n        state = LINE_START;\n',
      test: {
        file: 'test/unit/delivery-data-end.test.ts',
        name: 'only CRLF.CRLF ends a message, every other end is noticed',
      },
    },
  ]);
});

test('without the check of recipients the test of unknown ones fails', async () => {
  await bites([
    {
      file: 'src/delivery/router.ts',
      from: "    if (targets.size === 0) return rejection ? { kind: 'rejected', ...rejection } : { kind: 'unknown-user' };\n",
      to: '',
      test: {
        file: 'test/unit/router-lookup.test.ts',
        name: 'an address that no table has is an unknown user, before its message comes',
      },
    },
  ]);
});
