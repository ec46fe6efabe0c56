// Makes one file of what each program begins with: a daemon loads that instead of a hundred and
// twenty modules, an HSM instead of sixty; they were a quarter of the CPU of its start.
// It is CommonJS, which Node begins sooner with, and loads packages of that kind sooner. Packages
// stay outside; what is loaded later stays beside it.
import { chmodSync } from 'node:fs';
import { rolldown } from 'rolldown';

/** A module, and the name of what is made of it in its folder: it finds others from there. */
const PROGRAMS = [
  ['dist/daemon', 'main.js', 'program'],
  ['dist/hsm', 'main.js', 'program'],
  ['dist/store', 'sqlite-worker.js', 'sqlite-worker'],
  ['dist/cli', 'main.js', 'keyspan'],
  ['dist/cli', 'cloudhsm-cli.js', 'cloudhsm-cli'],
];

async function pack([dir, file, name]) {
  const bundle = await rolldown({
    input: { [name]: `${dir}/${file}` },
    platform: 'node',
    external: /^(?!\.|\/|dist\/)/,
    // warnings are errors: nothing here is worth one
    onwarn: (warning) => {
      throw new Error(warning.message);
    },
  });
  await bundle.write({
    dir,
    entryFileNames: '[name].cjs',
    chunkFileNames: `${name}-[name].cjs`,
    format: 'cjs',
    sourcemap: true,
  });
  await bundle.close();
  chmodSync(`${dir}/${name}.cjs`, 0o755);
}

await Promise.all(PROGRAMS.map(pack));
