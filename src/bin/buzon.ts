#!/usr/bin/env node
// The command `buzon`.
import { launch } from '../launcher.ts';

launch(import.meta.url, async () => {
  const { runCommand } = await import('../cli/main.ts');
  process.exitCode = await runCommand(process.argv.slice(2));
});
