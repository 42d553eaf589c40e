// A request to a model, as a line for a shell.

/** What is not from here is quoted. Without `key` the line takes the key from the variable API_KEY. */
export function chatRequest(url, model, key = null) {
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello" }] });
    return `curl ${quoted(`${url}/v1/chat/completions`)} \\
  -H ${key === null ? '"Authorization: Bearer $API_KEY"' : quoted(`Authorization: Bearer ${key}`)} \\
  -H 'Content-Type: application/json' \\
  -d ${quoted(body)}`;
}
