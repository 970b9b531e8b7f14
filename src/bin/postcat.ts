#!/usr/bin/env node
// The command `postcat`, by the name that administrators' scripts call.
import { launch } from '../launcher.ts';

launch(import.meta.url, async () => {
  const { runCommand } = await import('../cli/main.ts');
  process.exitCode = await runCommand(['postcat', ...process.argv.slice(2)]);
});
