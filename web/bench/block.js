// How long the page's thread is busy with one thing, as Chromium's own trace has it. A loop of messages would keep the thread
// busy itself, and the observer of long tasks tells of those above 50 ms alone.
const categories = ["disabled-by-default-devtools.timeline", "blink.user_timing"];

/** Lets `load` load the page, and returns the longest task, in ms, between the page's marks "begin" and "signed". */
export async function longestBlock(page, load) {
  await page.tracing.start({ categories });
  await load();
  const { traceEvents } = JSON.parse(Buffer.from(await page.tracing.stop()));
  const mark = (name) => traceEvents.find((event) => event.name === name && event.cat === "blink.user_timing");
  const [begin, signed] = [mark("begin"), mark("signed")];
  // One that has no duration had not ended with the trace, and so began after "signed".
  const tasks = traceEvents.filter(({ name, pid, tid, dur }) => name === "RunTask" && pid === begin.pid && tid === begin.tid && dur >= 0);
  const within = ({ ts, dur }) => Math.min(ts + dur, signed.ts) - Math.max(ts, begin.ts);
  return Math.max(...tasks.map(within)) / 1000;
}
