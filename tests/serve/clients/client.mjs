// OpenAI's library for JavaScript: chat, stream, JSON held to a schema, tools, errors.
import assert from "node:assert";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [address, modules] = process.argv.slice(2);
const found = createRequire(pathToFileURL(`${modules}/x.js`)).resolve("openai");
const { default: OpenAI } = await import(pathToFileURL(found));
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello" }];
const asked = { model: "demo", messages, temperature: 0 };
const text = "Hello! How can I help you?";

assert.equal((await client.models.list()).data[0].id, "demo");
assert.equal((await client.chat.completions.create(asked)).choices[0].message.content, text);

let said = "";
for await (const piece of await client.chat.completions.create({ ...asked, stream: true })) {
  said += piece.choices[0]?.delta.content ?? "";
}
assert.equal(said, text);

const schema = {
  type: "object", additionalProperties: false, required: ["age"],
  properties: { age: { type: "integer", minimum: 1, maximum: 99 } },
};
const format = { type: "json_schema", json_schema: { name: "person", schema, strict: true } };
const held = await client.chat.completions.create({ ...asked, response_format: format });
assert.ok(JSON.parse(held.choices[0].message.content).age >= 1);

const tools = [{ type: "function", function: { name: "save", parameters: schema } }];
const called = await client.chat.completions.create({
  ...asked, tools, tool_choice: "required", parallel_tool_calls: false,
});
const [call] = called.choices[0].message.tool_calls;
assert.ok(JSON.parse(call.function.arguments).age >= 1);
const result = { role: "tool", tool_call_id: call.id, content: "saved" };
await client.chat.completions.create({
  ...asked, tools, max_tokens: 20, messages: [...messages, called.choices[0].message, result],
});

await assert.rejects(
  client.chat.completions.create({ ...asked, frequency_penalty: 1 }),
  (error) => error.status === 400 && error.code === "unsupported",
);
console.log("ok");
