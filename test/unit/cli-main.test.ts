// `buzon COMMAND`: every command that is written can be called and is listed.
import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from '../../src/cli/command.ts';
import { runCommand } from '../../src/cli/main.ts';
import { captureIo } from '../support/command-io.ts';

const FOLDER = new URL('../../src/cli/', import.meta.url);

function isCommand(value: unknown): value is Command {
  const command = value as Partial<Command> | null;
  return typeof command === 'object' && typeof command?.run === 'function' && typeof command.usage === 'string';
}

async function allCommands(): Promise<{ file: string; command: Command }[]> {
  const found: { file: string; command: Command }[] = [];
  for (const file of await readdir(fileURLToPath(FOLDER))) {
    if (!file.endsWith('.ts')) continue;
    const module = (await import(new URL(file, FOLDER).href)) as Record<string, unknown>;
    for (const value of Object.values(module)) if (isCommand(value)) found.push({ file, command: value });
  }
  return found;
}

test('each command in src/cli is registered, listed by help and explained by help COMMAND', async () => {
  const commands = await allCommands();
  assert.ok(commands.length >= 4, 'commands are found');
  const io = captureIo();
  assert.equal(await runCommand(['help'], io), 0);
  for (const { file, command } of commands) {
    assert.ok(
      io.stdout.split('\n').some((line) => line.trim() === `${command.name.padEnd(10)} ${command.summary}`),
      `${file} is listed: ${io.stdout}`,
    );
    const one = captureIo();
    assert.equal(await runCommand(['help', command.name], one), 0);
    assert.equal(one.stdout, `${command.usage}\n`, file);
    const flag = captureIo();
    assert.equal(await runCommand([command.name, '--help'], flag), 0);
    assert.equal(flag.stdout, `${command.usage}\n`, file);
  }
});

test('an unknown command, and one whose name an object has, end with 2', async () => {
  for (const name of ['nosuch', 'constructor', '__proto__']) {
    const io = captureIo();
    assert.equal(await runCommand([name], io), 2);
    assert.match(io.stderr, /there is no command/);
  }
});

test('version tells the package’s version; no arguments list the commands', async () => {
  const io = captureIo();
  assert.equal(await runCommand(['version'], io), 0);
  assert.match(io.stdout, /^buzon \d+\.\d+\.\d+\n$/);
  const none = captureIo();
  assert.equal(await runCommand([], none), 0);
  assert.match(none.stdout, /^usage: buzon COMMAND/);
});

test('a fault of the settings is one line on standard error and status 1', async () => {
  const io = captureIo();
  assert.equal(await runCommand(['reload', '--config', '/nonexistent/buzon.yaml'], io), 1);
  assert.equal(io.stderr, 'buzon reload: /nonexistent/buzon.yaml: there is no such file\n');
});
