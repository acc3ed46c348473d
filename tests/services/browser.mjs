// Does what it is told in a browser, and prints what it saw as JSON; see browser.py.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

const { library, program, url, cookie, width, height, scheme, steps } = JSON.parse(
  await text(process.stdin),
);
const { chromium } = createRequire(import.meta.url)(library);
const browser = await chromium.launch({ executablePath: program, args: ["--no-sandbox"] });
const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme });
if (cookie) await context.addCookies([{ ...cookie, url }]);
const page = await context.newPage();
page.setDefaultTimeout(20_000);

const seen = { outside: [], errors: [], overflow: [], failed: null };
page.on("request", (request) => {
  const to = request.url();
  if (!to.startsWith(url) && !to.startsWith("data:") && !to.startsWith("ws" + url.slice(4))) {
    seen.outside.push(to);
  }
});
page.on("pageerror", (error) => seen.errors.push(error.message));
page.on("console", (message) => {
  if (message.type() === "error") seen.errors.push(message.text());
});

const actions = {
  open: (path) => page.goto(url + path),
  fill: ([selector, value]) => page.locator(selector).last().fill(value),
  press: (name) => page.getByRole("button", { name, exact: true }).first().click(),
  press_last: (name) => page.getByRole("button", { name, exact: true }).last().click(),
  follow: (name) => page.getByRole("link", { name, exact: true }).first().click(),
  see: (words) => page.getByText(words).first().waitFor(),
  miss: (words) => page.getByText(words).first().waitFor({ state: "hidden" }),
  shot: (path) => page.screenshot({ path, fullPage: true }),
  measure: async () => {
    seen.overflow.push(
      await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth),
    );
  },
};

for (const [name, argument] of steps) {
  try {
    await actions[name](argument);
  } catch (error) {
    const body = await page.evaluate(() => document.body.innerText).catch(() => "");
    seen.failed = `${name} ${argument}: ${error.message}\n${body.slice(0, 3000)}`;
    break;
  }
}
seen.title = await page.title();
seen.address = page.url();
seen.cookies = (await context.cookies()).map(({ value, ...rest }) => rest);
console.log(JSON.stringify(seen));
await browser.close();
