import { expect, test } from 'vitest';
import type { ClientEvent } from '../../src/protocol/client-frames.js';
import { Broadcast } from '../../src/front/broadcast.js';

test('an event goes once to each who asked for its topic, until they leave', () => {
  const broadcast = new Broadcast();
  const heard: [string, ClientEvent][] = [];
  const listener = (name: string) => (event: ClientEvent) => void heard.push([name, event]);
  const [one, two] = [listener('one'), listener('two')];
  broadcast.subscribe('hsm', one);
  broadcast.subscribe('hsm', one);
  broadcast.subscribe('cluster', two);
  broadcast.publish('hsm', { id: 'a' });
  broadcast.publish('cluster', {});
  broadcast.unsubscribe(one);
  broadcast.publish('hsm', { id: 'b' });
  expect(heard).toEqual([
    ['one', { event: 'hsm', data: { id: 'a' } }],
    ['two', { event: 'cluster', data: {} }],
  ]);
});
