// The hook where there is no browser: what it renders on a server, and when it says that something has changed. In a page,
// with React's own order of effects: test/react.test.js.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { loading, stateOf, watch } from "../.tsc/src/react/watch.js";
import { useSession } from "../dist/react.js";

/** A key as each answer of the worker's has it: another object every time. */
const keyOf = (id, publicKey = "02") => ({ id, publicKey, session: { id: `Session:${id}${publicKey}`, accountId: "a", expiresAt: "2030-01-01T00:00:00Z" } });
const signedIn = (key) => ({ status: "signed-in", key, session: key.session });
const signedOut = { status: "signed-out" };

/** A signer whose answers the test gives, in any order. */
function makeSigner() {
  const signer = {
    listeners: new Set(),
    asked: [],
    on(type, listener) {
      assert.equal(type, "session");
      const mine = (event) => listener(event); // the same function twice is two listeners
      signer.listeners.add(mine);
      return () => signer.listeners.delete(mine);
    },
    session: () => new Promise((resolve, reject) => signer.asked.push({ resolve, reject })),
    tell: (type) => [...signer.listeners].forEach((listener) => listener({ type })),
  };
  return signer;
}

/** A watcher that notes each state. */
function note(signer) {
  const seen = [];
  return { seen, stop: watch(signer, () => seen.push(stateOf(signer))) };
}

const settle = () => new Promise(setImmediate);

async function answer(signer, key, question = -1) {
  signer.asked.at(question).resolve(key);
  await settle();
}

test("components share one listener and one question, and see one object until something changes", async () => {
  const signer = makeSigner();
  const [first, second] = [note(signer), note(signer)];
  assert.equal(stateOf(signer), loading);
  await answer(signer, keyOf("a"));
  const third = note(signer);
  assert.deepEqual([signer.listeners.size, signer.asked.length], [1, 1]);
  assert.deepEqual(first.seen, [signedIn(keyOf("a"))]);
  assert.equal(first.seen[0], second.seen[0]);
  assert.equal(stateOf(signer), first.seen[0]);
  assert.equal(stateOf(signer).session, stateOf(signer).key.session);
  assert.deepEqual(third.seen, []);
});

test("who has stopped hears nothing, and the listener goes with the last", async () => {
  const signer = makeSigner();
  const [first, second] = [note(signer), note(signer)];
  first.stop();
  await settle();
  assert.equal(signer.listeners.size, 1);
  await answer(signer, keyOf("a"));
  assert.deepEqual([first.seen.length, second.seen.length], [0, 1]);
  second.stop();
  await settle();
  assert.equal(signer.listeners.size, 0);
});

test("what is not listened to is forgotten: who comes later sees no session that may be over", async () => {
  const signer = makeSigner();
  note(signer).stop();
  const early = signer.asked[0];
  await settle();
  assert.equal(stateOf(signer), loading);
  const { seen } = note(signer);
  assert.deepEqual([signer.listeners.size, signer.asked.length], [1, 2]);
  early.resolve(keyOf("old"));
  await settle();
  assert.equal(stateOf(signer), loading);
  await answer(signer, undefined);
  assert.deepEqual(seen, [signedOut]);
});

test("a component that takes the place of the last one at once takes over what is known", async () => {
  const signer = makeSigner();
  const first = note(signer);
  await answer(signer, keyOf("a"));
  const state = stateOf(signer);
  first.stop();
  const second = note(signer);
  await settle();
  assert.equal(stateOf(signer), state);
  assert.deepEqual([signer.listeners.size, signer.asked.length, second.seen.length], [1, 1, 0]);
});

test("to stop twice is to stop once, whoever has come since", async () => {
  const signer = makeSigner();
  const first = note(signer);
  first.stop();
  await settle();
  const second = note(signer);
  first.stop();
  await settle();
  await answer(signer, keyOf("a"));
  assert.deepEqual([signer.listeners.size, second.seen], [1, [signedIn(keyOf("a"))]]);
});

test("each event has the signer asked, but the one that changes nothing", async () => {
  const signer = makeSigner();
  const { seen } = note(signer);
  await answer(signer, undefined);
  signer.tell("started");
  await answer(signer, keyOf("a", "02"));
  signer.tell("expiring");
  assert.equal(signer.asked.length, 2);
  signer.tell("refreshed");
  await answer(signer, keyOf("a", "03"));
  signer.tell("leaving");
  await answer(signer, undefined);
  signer.tell("ended");
  await answer(signer, undefined);
  assert.deepEqual([signer.listeners.size, signer.asked.length], [1, 5]);
  assert.deepEqual(seen, [signedOut, signedIn(keyOf("a", "02")), signedIn(keyOf("a", "03")), signedOut]);
});

test("the same answer once more is no change", async () => {
  const signer = makeSigner();
  const { seen } = note(signer);
  await answer(signer, keyOf("a"));
  const state = stateOf(signer);
  signer.tell("started"); // of another key, which is older
  await answer(signer, keyOf("a"));
  assert.equal(stateOf(signer), state);
  assert.equal(seen.length, 1);
});

test("the answer to the last question wins, in whatever order they come", async () => {
  const orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
  for (const fails of [undefined, 0, 1]) {
    for (const order of orders) {
      const signer = makeSigner();
      const { seen } = note(signer);
      signer.tell("started");
      signer.tell("ended");
      for (const question of order) {
        if (question === fails) signer.asked[question].reject(new Error("late"));
        else await answer(signer, question === 2 ? undefined : keyOf("old"), question);
      }
      await settle();
      assert.deepEqual(seen, [signedOut], `${order}, ${fails} failed`);
    }
  }
});

test("a failure is shown beside the last known state, and goes with the next answer", async () => {
  const signer = makeSigner();
  const { seen } = note(signer);
  const [closed, late] = [new Error("closed"), new Error("late")];
  signer.asked[0].reject(closed);
  await settle();
  signer.tell("started");
  await answer(signer, keyOf("a"));
  signer.tell("refreshed");
  signer.asked[2].reject(late);
  await settle();
  signer.tell("ended");
  await answer(signer, undefined);
  assert.deepEqual(seen, [{ status: "loading", error: closed }, signedIn(keyOf("a")), { ...signedIn(keyOf("a")), error: late }, signedOut]);
  assert.equal(seen[2].error, late);
});

test("a signer that cannot be listened to is an error like any other", async () => {
  const closed = new Error("closed");
  const signer = { on: () => { throw closed; }, session: () => assert.fail("not without a listener") };
  const { stop } = note(signer);
  assert.equal(stateOf(signer).error, closed);
  stop();
  await settle();
  assert.equal(stateOf(signer), loading);
});

test("signers do not mix", async () => {
  const [one, other] = [makeSigner(), makeSigner()];
  const [first, second] = [note(one), note(other)];
  await answer(one, keyOf("a"));
  await answer(other, undefined);
  assert.deepEqual([first.seen, second.seen], [[signedIn(keyOf("a"))], [signedOut]]);
});

test("a server renders that nothing is known yet, and does not touch the signer", () => {
  const untouchable = new Proxy({}, { get: () => assert.fail("touched") });
  const Status = ({ signer }) => createElement("p", null, JSON.stringify(useSession(signer)).replaceAll('"', ""));
  for (const signer of [untouchable, undefined, null]) {
    assert.equal(renderToString(createElement(Status, { signer })), "<p>{status:loading}</p>");
  }
});
