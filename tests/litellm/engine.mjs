#!/usr/bin/env node
// Prisma's query engine for LiteLLM, where Prisma's own server for it cannot be downloaded: the same engine, which
// @prisma/client ships as WebAssembly, behind the part of that server that prisma-client-py speaks to.
//
// prisma-client-py asks in GraphQL, the WebAssembly build takes JSON; what is asked is the same tree in both.
// Not ported: metrics, logs. Started as `engine.mjs -p PORT …`, with PRISMA_DML_PATH and DATABASE_URL.

import fs from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.env.GATEWAY_NODE_MODULES}/`));
const VERSION = "393aa359c9ad4a4bb28630fb5613f9c281cde053"; // of Prisma 5.17.0's engines, which prisma-client-py expects

if (process.argv.includes("--version")) {
  console.log(`query-engine ${VERSION}`);
  process.exit(0);
}

const { parse } = require("graphql");
const runtime = require("@prisma/client/runtime/query_engine_bg.postgresql.js");
const { bindAdapter } = require("@prisma/driver-adapter-utils");
const { PrismaPg } = require("@prisma/adapter-pg");
const { Client, Pool } = require("pg");

const READS = "findUnique|findFirst|findMany|aggregate|groupBy|queryRaw";
const WRITES = "createOne|createMany|updateOne|updateMany|upsertOne|deleteOne|deleteMany|executeRaw";
const ACTIONS = new RegExp(`^(${READS}|${WRITES})(.*)$`);

// Types of PostgreSQL's own catalogue that the adapter does not know, by their numbers, and what they are read as.
const AS_TEXT = new Set([18, 19, 22, 24, 28, 29, 30, 194, 705, 1003, 1033, 1034, 1186, 2205, 2206, 2249, 2278, 3220, 4089]);
const TEXT = 25;

function readable(result) {
  for (const field of result?.fields ?? []) if (AS_TEXT.has(field.dataTypeID)) field.dataTypeID = TEXT;
  return result;
}

class Connection extends Client {
  query(...asked) {
    const got = super.query(...asked);
    return got instanceof Promise ? got.then(readable) : got;
  }
}

class Connections extends Pool {
  async query(...asked) {
    const connection = await this.connect();
    try {
      return await connection.query(...asked);
    } finally {
      connection.release();
    }
  }
}

const datamodel = fs.readFileSync(process.env.PRISMA_DML_PATH, "utf8");
const JSON_FIELDS = new Map(
  [...datamodel.matchAll(/^model (\w+) \{(.*?)^\}/gms)].map(([, name, body]) => [
    name,
    new Set([...body.matchAll(/^\s*(\w+)\s+Json\b/gm)].map(([, each]) => each)),
  ]),
);

async function start() {
  const wasm = fs.readFileSync(require.resolve("@prisma/client/runtime/query_engine_bg.postgresql.wasm"));
  const { instance } = await WebAssembly.instantiate(wasm, { "./query_engine_bg.js": runtime });
  runtime.__wbg_set_wasm(instance.exports);
  const options = {
    datamodel,
    logLevel: "error",
    logQueries: false,
    enableTracing: false,
    engineProtocol: "json",
  };
  const connections = new Connections({ connectionString: process.env.DATABASE_URL, max: 10, Client: Connection });
  const adapter = bindAdapter(new PrismaPg(connections));
  const engine = new runtime.QueryEngine(options, (line) => console.error(line), adapter);
  await engine.connect("");
  return engine;
}

// What is asked: GraphQL to JSON

/** `json` are the model's fields whose text is JSON; `within` one of them, all text is. */
function argument(node, json, within = false) {
  switch (node.kind) {
    case "ObjectValue":
      return Object.fromEntries(
        node.fields.map(({ name, value }) => [name.value, argument(value, json, within || json.has(name.value))]),
      );
    case "ListValue":
      return node.values.map((each) => argument(each, json, within));
    case "IntValue":
    case "FloatValue":
      return Number(node.value);
    case "NullValue":
      return null;
    case "StringValue":
      return within ? { $type: "Json", value: node.value } : node.value;
    default:
      return node.value; // truth values, and names of enumerations
  }
}

const named = (nodes, json) =>
  Object.fromEntries((nodes ?? []).map(({ name, value }) => [name.value, argument(value, json)]));

const query = (node, json) => ({ arguments: named(node.arguments, json), selection: selection(node, json) });

const selection = (node, json) =>
  Object.fromEntries((node.selectionSet?.selections ?? []).map((each) => [each.name.value, field(each, json)]));

const field = (node, json) => (node.selectionSet || node.arguments?.length ? query(node, json) : true);

function translated({ query: text }) {
  const [operation] = parse(text).definitions;
  const [asked] = operation.selectionSet.selections;
  const [, action, modelName] = asked.name.value.match(ACTIONS);
  return { ...(modelName ? { modelName } : {}), action, query: query(asked, JSON_FIELDS.get(modelName) ?? new Set()) };
}

// What is answered: values with their types to values

function plain(value) {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== "object") return value;
  if ("$type" in value) return value.value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
}

const cell = (type, value) => ({ prisma__type: value === null ? "null" : type, prisma__value: value });

/** Rows of raw SQL, as engines of prisma-client-py's age answered them. */
const rows = ({ columns, types, rows }) =>
  rows.map((row) => Object.fromEntries(row.map((value, n) => [columns[n], cell(types[n], value)])));

function answered({ data, ...rest }) {
  if (!data) return rest;
  const result = Object.values(data)[0];
  return { ...rest, data: { result: result?.columns ? rows(result) : plain(result) } };
}

// The server

async function answer(engine, method, path, body, transaction) {
  if (path === "/status") return { status: "ok" };
  if (path === "/transaction/start") return JSON.parse(await engine.startTransaction(JSON.stringify(body), "{}"));
  const [, id, end] = path.match(/^\/transaction\/(.+)\/(commit|rollback)$/) ?? [];
  if (id) return JSON.parse((await engine[`${end}Transaction`](id, "{}")) || "{}");
  if (method !== "POST" || path !== "/") return null;
  const ask = async (asked) => JSON.parse(await engine.query(JSON.stringify(asked), "{}", transaction));
  if (!body.batch) return answered(await ask(translated(body)));
  const got = await ask({ batch: body.batch.map(translated), transaction: body.transaction ? {} : undefined });
  return got.batchResult ? { ...got, batchResult: got.batchResult.map(answered) } : got;
}

const read = async (request) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : {};
};

const engine = await start();
const server = http.createServer(async (request, response) => {
  let body;
  try {
    const transaction = request.headers["x-transaction-id"];
    body = await read(request);
    const got = await answer(engine, request.method, request.url, body, transaction);
    response.writeHead(got ? 200 : 404, { "Content-Type": "application/json" });
    response.end(JSON.stringify(got ?? {}));
  } catch (error) {
    console.error(request.method, request.url, JSON.stringify(body), error);
    response.writeHead(500, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ errors: [{ error: String(error) }] }));
  }
});
server.keepAliveTimeout = 60_000;
server.listen(Number(process.argv[process.argv.indexOf("-p") + 1]), "localhost");
process.on("SIGINT", () => process.exit(0));
process.on("SIGTERM", () => process.exit(0));
