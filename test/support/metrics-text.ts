import { expect } from 'vitest';

/** A sample's name with its labels in braces, as it stands in the text, and its value. */
export type Samples = ReadonlyMap<string, number>;

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const LABEL = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"`;
const SAMPLE = new RegExp(String.raw`^(${NAME})(\{(?:${LABEL}(?:,${LABEL})*)?\})? (\S+)$`);
const HEAD = new RegExp(`^# (HELP|TYPE) (${NAME})(?: (.*))?$`);
const VALUE = /^(?:[+-]?Inf|[Nn]a[Nn]|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/;

/** Reads Prometheus's text format, version 0.0.4, and fails for whatever it does not allow. */
export function parseMetrics(text: string): Samples {
  const samples = new Map<string, number>();
  const types = new Map<string, string>();
  expect(text.endsWith('\n')).toBe(true);
  for (const line of text.split('\n').filter((one) => one !== '')) {
    const head = HEAD.exec(line);
    if (head?.[1] === 'TYPE') {
      expect(['counter', 'gauge', 'histogram', 'summary']).toContain(head[3]);
      expect(types.has(head[2] ?? ''), `two types: ${line}`).toBe(false);
      types.set(head[2] ?? '', head[3] ?? '');
    }
    if (head) continue;
    const [, name = '', labels = '', value = ''] = SAMPLE.exec(line) ?? [];
    expect(name, `not a sample: ${line}`).not.toBe('');
    expect(value, line).toMatch(VALUE);
    const family = name.replace(/_(?:bucket|sum|count)$/, '');
    const known = types.has(name) || ['histogram', 'summary'].includes(types.get(family) ?? '');
    expect(known, `no type before: ${line}`).toBe(true);
    expect(samples.has(name + labels), `twice: ${line}`).toBe(false);
    samples.set(name + labels, Number(value.replace(/Inf$/, 'Infinity')));
  }
  return samples;
}
