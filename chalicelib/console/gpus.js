// GPUs as bars. What a heartbeat tells is how much memory is used; whose it is follows from who holds the device.
import { html } from "./vendor/preact.js";
import { busy, isKnown, memory, memoryOf } from "./format.js";
import { FOREIGN } from "./models.js";
import { memo } from "./state.js";

const NOTHING = 64 * 1024 ** 2; // bytes that an idle driver may have

/** The short name of a GPU; not every driver tells one. */
export const shortName = ({ name }) => (name || "GPU").replace(/^NVIDIA /, "");

/** One entry a device: its memory, and who has how much of it. */
export function devices(worker, holders) {
    const usage = new Map(worker.gpu_usage.map((gpu) => [gpu.index, gpu]));
    const listed = worker.gpu_info.devices.length
        ? worker.gpu_info.devices
        : Array.from({ length: worker.gpu_info.count }, (_, index) => ({ index }));
    return listed.map((device) => {
        const { memory_used = null, utilization = null } = usage.get(device.index) ?? {};
        const claim = worker.gpu_claims[device.index];
        const holder = claim && (holders[claim] ?? { name: "a deployment", model: "Unknown model", tone: "tone-0" });
        const parts = memory_used > NOTHING ? [{ of: holder ?? FOREIGN, bytes: memory_used }] : [];
        const { index, name, memory_total, lost = false } = device;
        return { index, name, lost, total: memory_total ?? 0, used: memory_used, utilization, holder, claim, parts };
    });
}

/** The same with a closer look: memory by process, so that a shared device is told apart. */
export function closer(device, look, containers, holders) {
    const seen = look?.find((gpu) => gpu.index === device.index);
    if (!seen?.processes) return { ...device, ...(seen && { temperature: seen.temperature, power: seen.power }) };
    const byHolder = new Map();
    for (const process of seen.processes) {
        const ours = containers.find((container) => container.ours && process.container && container.id.startsWith(process.container));
        const of = (ours && holders[ours.deployment_id]) ?? FOREIGN;
        const before = byHolder.has(of) ? byHolder.get(of) : 0;
        byHolder.set(of, isKnown(before) && isKnown(process.memory) ? before + process.memory : null);
    }
    const parts = [...byHolder].map(([of, bytes]) => ({ of, bytes })).sort((one, other) => foreign(one) - foreign(other));
    const { memory_used, utilization, temperature, power, processes } = seen;
    const figures = { used: memory_used ?? device.used, utilization: utilization ?? device.utilization };
    const closer = { ...figures, temperature, power, processes };
    return { ...device, ...closer, parts: parts.length ? parts : device.parts };
}

const foreign = (part) => part.of === FOREIGN;

const share = (bytes, total) => (total ? Math.min(100, (100 * bytes) / total) : 0);

export function described(device) {
    const whose = device.parts.map((part) => `${part.of.name} ${memory(part.bytes)}`).join(", ");
    const held = !whose && device.holder ? `held by ${device.holder.name}` : "";
    if (device.lost) return `GPU ${device.index}, lost. ${held || "It does not answer"}`;
    const figures = `${memoryOf(device.used, device.total)}, ${busy(device.utilization)}`;
    return `GPU ${device.index}, ${figures}. ${whose || held || "free"}`;
}

const Meter = (device) =>
    html`
        <div class="meter ${device.holder ? "held" : ""}" key=${device.index} role="img" aria-label=${described(device)}
            title=${described(device)}>
        <span class="fill">
            ${device.parts.map((part) => html`
                <span class="part ${part.of.tone}" style=${{ height: `${share(part.bytes, device.total)}%` }}></span>
            `)}
        </span>
        <span class="load"><span style=${{ height: `${device.utilization ?? 0}%` }}></span></span>
    </div>`;

/** A worker's devices side by side, each filled as its memory is. */
export const Meters = memo(({ usage, info, claims, holders, label }) => {
    const found = devices({ gpu_usage: usage, gpu_info: info, gpu_claims: claims }, holders);
    return html`<div class="meters" role="group" aria-label=${label}>${found.map(Meter)}</div>`;
});

/** Memory of many devices as one bar. `parts`: `{of, bytes}`. */
export const MemoryBar = ({ parts, total, label }) =>
    html`<div class="memory" role="img" aria-label=${label}>
        ${parts.map((part) => html`
            <span class="part ${part.of.tone}" key=${part.of.model} title=${`${part.of.model}: ${memory(part.bytes)}`}
                style=${{ width: `${share(part.bytes, total)}%` }}>
            </span>
        `)}
    </div>`;

/** One device at full width, with its figures. */
export const Device = ({ device }) =>
    html`<li class="device">
        <div class="device-head"><b>GPU ${device.index}</b><span>${device.name || "unknown"}</span>
            <span class="figures">${device.lost ? "lost" : memoryOf(device.used, device.total)}</span></div>
        <${MemoryBar} parts=${device.parts} total=${device.total} label=${described(device)} />
        <div class="bar load-bar" role="img" aria-label=${busy(device.utilization)}>
            <i style=${{ width: `${device.utilization ?? 0}%` }}></i>
        </div>
        <div class="device-foot">
            <span>${busy(device.utilization)}</span>
            ${device.temperature !== undefined && html`<span>${Math.round(device.temperature)} °C</span>`}
            ${device.power !== undefined && html`<span>${Math.round(device.power)} W</span>`}
            ${device.parts.map((part) => html`
                <span class="whose">
                    <i class="swatch ${part.of.tone}" aria-hidden="true"></i>
                    ${part.of.name} · ${memory(part.bytes)}
                </span>
            `)}
            ${!device.parts.length && html`
                <span class="whose">${device.holder ? `held by ${device.holder.name}` : device.lost ? "does not answer" : "free"}</span>
            `}
        </div>
    </li>`;

/** Memory by model over several devices, the models that have most first, foreign memory last. */
export function byModel(found) {
    const sums = new Map();
    for (const device of found) {
        for (const { of, bytes } of device.parts) {
            const sum = sums.get(of.model) ?? { of, bytes: 0 };
            sum.bytes += bytes;
            sums.set(of.model, sum);
        }
    }
    return [...sums.values()].sort((one, other) => foreign(one) - foreign(other) || other.bytes - one.bytes);
}
