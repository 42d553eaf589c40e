// A form's fields, each with what is wrong with it beside it.
import { html } from "./vendor/preact.js";

/** `wrong` maps a field's name to what is wrong; `input` gets what ties both together. */
export function Field({ name, title, hint, wrong, children, wide = false }) {
    const problem = wrong[name];
    const described = [hint && `${name}-hint`, problem && `${name}-wrong`].filter(Boolean).join(" ") || null;
    return html`<div class="field ${wide ? "wide" : ""}" data-field=${name}>
        <label for=${`field-${name}`}>${title}</label>
        ${children({ id: `field-${name}`, "aria-invalid": problem ? "true" : null, "aria-describedby": described })}
        ${hint && html`<small class="muted" id=${`${name}-hint`}>${hint}</small>`}
        ${problem && html`<p class="wrong" id=${`${name}-wrong`} role="alert">${problem}</p>`}
    </div>`;
}

/** Where an error of the API belongs: its message begins with the field's path. */
export function belongs(error, fields) {
    const [, path, what] = /^([a-z_]+)(?:[.[][^:]*)?: (.+)$/s.exec(error.message) ?? [];
    if (fields.includes(path)) return { [path]: what };
    if (error.code === "WORKER_NOT_FOUND" && fields.includes("worker_id")) return { worker_id: error.message };
    return { form: error.message };
}

export function focusWrong(form) {
    setTimeout(() => form.querySelector("[aria-invalid=true], .field [role=alert] ~ input")?.focus());
}

// vLLM's flags that people set, with their kinds

export const KNOWN = {
    max_model_len: "number", gpu_memory_utilization: "number", max_num_seqs: "number", max_num_batched_tokens: "number",
    tensor_parallel_size: "number", pipeline_parallel_size: "number", cpu_offload_gb: "number", swap_space: "number",
    seed: "number", port: "number",
    dtype: "text", quantization: "text", kv_cache_dtype: "text", served_model_name: "text", revision: "text",
    tokenizer: "text", load_format: "text",
    tool_call_parser: "text", reasoning_parser: "text", chat_template: "text",
    enforce_eager: "switch", trust_remote_code: "switch", enable_prefix_caching: "switch",
    enable_auto_tool_choice: "switch", enable_lora: "switch", enable_chunked_prefill: "switch",
    rope_scaling: "JSON", limit_mm_per_prompt: "JSON", speculative_config: "JSON", extra_args: "JSON",
};
export const KINDS = ["text", "number", "switch", "JSON"];

export const kindOf = (value) => ({ number: "number", boolean: "switch", string: "text" })[typeof value] ?? "JSON";

/** What was typed, as what it is. Throws an Error that says what was expected. */
export function read(kind, text) {
    if (kind === "switch") return text === "true" || text === true;
    if (kind === "text") return String(text);
    if (kind === "number") {
        const number = Number(text);
        if (String(text).trim() === "" || !Number.isFinite(number)) throw new Error("expected a number");
        return number;
    }
    try {
        return JSON.parse(text);
    } catch {
        throw new Error("expected JSON, such as [\"--flag\", \"value\"] or {\"a\": 1}");
    }
}

/** A known flag brings its kind with it. */
function known(field, name) {
    const kind = field === "config" && Object.hasOwn(KNOWN, name) && KNOWN[name];
    return kind && { kind, ...(kind === "switch" && { value: "true" }) };
}

/** Pairs of a name and a value, one a row. `cells(row, set, at)` draws what is between name and the remove button. */
export function Rows({ rows, setRows, fresh, title, names, wrong, name, cells }) {
    const set = (at) => (more) => setRows(rows.map((row, index) => (index === at ? { ...row, ...more } : row)));
    return html`<fieldset class="rows" data-field=${name}>
        <legend>${title}</legend>
        ${rows.map((row, at) => html`<div class="row" key=${row.id}>
            <input class="mono" value=${row.name} list=${names} placeholder="name"
                aria-label=${`${title}: name ${at + 1}`} autocomplete="off" autocapitalize="off" spellcheck="false"
                aria-invalid=${wrong[name] ? "true" : null}
                    onInput=${(event) => set(at)({ name: event.target.value, ...known(name, event.target.value) })} />
            ${cells(row, set(at), at)}
            <button type="button" class="plain" aria-label=${`Remove ${row.name || `row ${at + 1}`}`}
                onClick=${() => setRows(rows.filter((_, index) => index !== at))}>✕</button>
        </div>`)}
        ${wrong[name] && html`<p class="wrong" role="alert">${wrong[name]}</p>`}
        <button type="button" class="quiet small"
            onClick=${() => setRows([...rows, { ...fresh, id: Math.random() }])}>Add</button>
    </fieldset>`;
}
