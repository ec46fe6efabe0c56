// Makes one file of the program that runs as many processes: an HSM loads that instead of sixty,
// which were a quarter of the CPU of its start. Packages stay outside; what is loaded later stays
// beside it.
import { rolldown } from 'rolldown';

const bundle = await rolldown({
  input: { program: 'dist/hsm/main.js' },
  platform: 'node',
  external: /^(?!\.|\/|dist\/)/,
  // warnings are errors: nothing here is worth one
  onwarn: (warning) => {
    throw new Error(warning.message);
  },
});
// in the folder of its workers, which it finds from where it is
await bundle.write({
  dir: 'dist/hsm',
  entryFileNames: '[name].js',
  chunkFileNames: 'program-[name].js',
  format: 'esm',
  sourcemap: true,
});
await bundle.close();
