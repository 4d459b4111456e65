/** Puts the package together: node build.js FOLDER. What is published is that folder, for example by `npm publish`. */
import { cpSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
// The module that Sluice itself serves: there is one source of it.
const browser = join(here, '../../app/web/static');
const OWN = ['package.json', 'README.md', 'server.js', 'server.d.ts', 'react.js', 'react.d.ts', 'payment_store.js'];

const target = process.argv[2] ?? join(here, 'dist');
mkdirSync(target, { recursive: true });
for (const name of OWN) cpSync(join(here, name), join(target, name));
for (const name of ['sluice.js', 'sluice.d.ts']) cpSync(join(browser, name), join(target, name));
cpSync(join(here, '../../LICENSE'), join(target, 'LICENSE'));
