// Entry of `node dist/server.js`.
import { launch } from './launcher.ts';

launch(import.meta.url, async () => {
  const { main } = await import('./cli/server.ts');
  await main(process.argv.slice(2));
});
