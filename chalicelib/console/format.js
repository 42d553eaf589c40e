// Numbers and times as people read them. Whatever comes from outside is text, and stays it.
const GIB = 1024 ** 3;

/** What stands for a figure that a worker does not report: no 0, which is a measurement. */
const UNKNOWN = "unknown";
export const isKnown = (figure) => figure !== null && figure !== undefined;

/** Memory, in the units that GPUs are sold and reported in. */
export const memory = (bytes) => {
    if (!isKnown(bytes)) return UNKNOWN;
    return bytes >= 1024 * GIB ? `${one(bytes / GIB / 1024)} TiB` : `${one(bytes / GIB)} GiB`;
};

/** `used of total`, in the unit of the total. A GPU of no memory is one whose memory is unknown. */
export const memoryOf = (used, total) => {
    if (!total) return isKnown(used) ? `${memory(used)} of ${UNKNOWN}` : "memory unknown";
    const unit = total >= 1024 * GIB ? 1024 * GIB : GIB;
    return `${isKnown(used) ? one(used / unit) : UNKNOWN} of ${one(total / unit)} ${unit === GIB ? "GiB" : "TiB"}`;
};

/** How busy a GPU is. */
export const busy = (share) => (isKnown(share) ? `${percent(share)} busy` : "utilization unknown");

/** 0, 1, 2, 5 as 0–2, 5. */
export function ranges(numbers) {
    const found = [];
    for (const number of [...numbers].sort((one, other) => one - other)) {
        const last = found.at(-1);
        if (last && last[1] === number - 1) last[1] = number;
        else found.push([number, number]);
    }
    return found.map(([first, last]) => (last - first > 1 ? `${first}–${last}` : [...new Set([first, last])].join(", "))).join(", ");
}

/** Devices by their indexes. */
export const gpuList = (indexes) => `GPU${indexes.length > 1 ? "s" : ""} ${ranges(indexes)}`;

/** Disks, images and downloads, in the units of those who make them. */
export function bytes(count) {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let at = 0;
    while (count >= 1000 && at < units.length - 1) {
        count /= 1000;
        at++;
    }
    return `${at ? one(count) : count} ${units[at]}`;
}

const one = (number) => (number >= 100 ? Math.round(number) : Math.round(number * 10) / 10).toLocaleString("en");

export const percent = (share) => `${Math.round(share)} %`;

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

/** A length of time. */
export function span(seconds) {
    seconds = Math.max(0, Math.round(seconds));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min${seconds < 600 && seconds % 60 ? ` ${seconds % 60} s` : ""}`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} days`;
}

/** Crash loops in words, as `muster ps` has them (muster/api/crash_loops.py). */
export function loopText({ error_code, times, next_start_in = null }) {
    const left = next_start_in < 120 ? `${next_start_in} s` : `${Math.ceil(next_start_in / 60)} min`;
    const next = next_start_in === null ? "" : `, next start ${next_start_in ? `in ${left}` : "now"}`;
    return `crash loop: ${error_code}${next}${times >= 10 ? `; the same cause ${times} times` : ""}`;
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const date = (time) => new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

// Made once, since making them takes longer than what they do.
const NUMBER = new Intl.NumberFormat("en");
const SHORT_DAY = new Intl.DateTimeFormat([], { month: "short", day: "numeric", timeZone: "UTC" });

/** A count in full, as 1,234,567. */
export const count = (number) => NUMBER.format(number);

/** A day in UTC, as 2026-12-31, for people. */
export const shortDay = (day) => SHORT_DAY.format(Date.parse(day));

// Colours, cursor moves and titles that programs write for terminals; and what else is no text.
const COMMAND = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~])/;
const TERMINAL = new RegExp(`${COMMAND.source}|[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]`, "g");

/** What was written last on a line that was written over. By hand: a pattern would look again from every character. */
function last(line) {
    let end = line.length;
    while (line[end - 1] === "\r") end--;
    return line.slice(line.lastIndexOf("\r", end - 1) + 1, end);
}

/** A log without what is meant for terminals. */
export const plain = (log) => log.split("\n").map(last).join("\n").replace(TERMINAL, "");

export const short = (id) => (id ?? "").slice(0, 12);

/** A value of `config` as one types it. */
export const written = (value) => (typeof value === "string" ? value : JSON.stringify(value));
