// The code of the pages. The marker of a block names the scenario that e2e/readme.test.js runs it in: where nobody is signed in, say.
import { readFileSync } from "node:fs";

const marked = /^ *<!-- run by web\/e2e\/readme\.test\.js(?:, (.+))? -->\n *```(\w+)\n([^]*?)^ *```$/gm;

/** The language and the code of each scenario. That of a block without one is called as its page. */
export function readBlocks() {
  const blocks = {};
  for (const page of ["README.md", "web/README.md"]) {
    const text = readFileSync(new URL(`../../${page}`, import.meta.url), "utf8");
    for (const [, scenario = page, language, code] of text.matchAll(marked)) {
      blocks[scenario] = { language, code: (blocks[scenario]?.code ?? "") + code }; // a second one goes on from the first
    }
  }
  return blocks;
}
