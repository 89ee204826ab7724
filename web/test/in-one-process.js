// Runs test files one after the other in this process, and so in one browser.
import { suite } from "node:test";
import "./browser.js"; // before the first file: it is closed after the last one

const minutes = 60_000;

for (const file of process.argv.slice(2)) {
  // The next one only when this one's tests are known: modules that both import could mix them up.
  await new Promise((registered) => {
    suite(file, { timeout: 30 * minutes }, () => import(`../${file}`).finally(registered));
  });
}
