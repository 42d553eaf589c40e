// Columns of days, drawn as an SVG. What it shows is in its description, and each page has the figures in a table too.
import { html } from "./vendor/preact.js";
import { count, shortDay } from "./format.js";
import { memo } from "./state.js";

const HEIGHT = 100, STEP = 10, GAP = 2; // of the drawing, which is stretched to the width of the page
const FEWEST = 7; // columns for which there is room: one day alone is no wide block
const LOWEST = 1; // what is more than 0 is seen

/** The end of the scale: the next multiple of half a power of ten. */
function ceiling(most) {
    if (most < 10) return Math.max(1, most);
    const half = 10 ** Math.floor(Math.log10(most)) / 2;
    return Math.ceil(most / half) * half;
}

const compact = (number) => number.toLocaleString("en", { notation: "compact" });

/** `days` is a list of objects with `day`, as 2026-12-31; `parts` are `{field, name, tone}`, from the bottom up. */
export const DayChart = memo(({ id, title, days, parts }) => {
    const total = (day) => parts.reduce((sum, { field }) => sum + day[field], 0);
    const most = days.reduce((one, other) => (total(other) > total(one) ? other : one));
    const scale = ceiling(total(most));
    const [first, last] = [days[0].day, days.at(-1).day].map(shortDay);
    const told = total(most)
        ? `From ${first} to ${last}. The most is ${count(total(most))}, on ${shortDay(most.day)}.`
        : `From ${first} to ${last}: nothing.`;
    return html`<figure class="chart">
        <figcaption>
            <h2>${title}</h2>
            ${parts.length > 1 && html`
                <ul class="legend">${parts.map(({ name, tone }) => html`
                    <li key=${name}><i class="swatch ${tone}" aria-hidden="true"></i>${name}</li>
                `)}</ul>
            `}
        </figcaption>
        <div class="axis" aria-hidden="true"><span>${compact(scale)}</span></div>
        <svg class="plot" role="img" aria-labelledby=${`${id}-title ${id}-told`} preserveAspectRatio="none"
            viewBox="0 0 ${Math.max(FEWEST, days.length) * STEP} ${HEIGHT}">
            <title id=${`${id}-title`}>${title}</title>
            <desc id=${`${id}-told`}>${told}</desc>
            ${days.map((day, at) => html`
                <g key=${day.day}>
                    <title>${`${shortDay(day.day)}: ${parts.map((part) => figure(day, part)).join(", ")}`}</title>
                    <rect class="ground" x=${at * STEP} width=${STEP} height=${HEIGHT} />
                    ${stacked(day, parts, scale).map(({ tone, y, height }) => html`
                        <rect class=${tone} key=${tone} x=${at * STEP + GAP / 2} y=${y} width=${STEP - GAP}
                            height=${height} />
                    `)}
                </g>
            `)}
        </svg>
        <div class="axis" aria-hidden="true">
            <span>${first}</span>${days.length >= FEWEST && html`<span>${last}</span>`}
        </div>
    </figure>`;
});

const figure = (day, { field, name }) => `${count(day[field])} ${name}`;

function stacked(day, parts, scale) {
    let y = HEIGHT;
    return parts.filter(({ field }) => day[field] > 0).map(({ field, tone }) => {
        const height = Math.max(LOWEST, (HEIGHT * day[field]) / scale);
        y -= height;
        return { tone, y, height };
    });
}
