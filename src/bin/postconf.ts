#!/usr/bin/env node
// The command `postconf`, by the name that administrators’ scripts call.
import { launch } from '../launcher.ts';

launch(import.meta.url, async () => {
  const { runCommand } = await import('../cli/main.ts');
  process.exitCode = await runCommand(['postconf', ...process.argv.slice(2)]);
});
